// Package ticket is a policy that holds mail to a ticket number in its subject. It is an example of
// a module that lives outside caddy-msa's repository: copy it and change it into yours.
package ticket

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/message"
)

func init() {
	caddy.RegisterModule(new(Ticket))
}

// Ticket refuses a message whose subject names no ticket, such as [OPS-1234], and puts the field
// X-Ticket before one that does, so that a mail reader can sort by it.
type Ticket struct {
	// Projects whose tickets count: OPS for [OPS-1234]. Capital letters and digits. Required.
	Projects []string `json:"projects,omitempty"`

	number *regexp.Regexp
}

// CaddyModule returns the Caddy module information. The name in the Caddyfile is the last part of the ID.
func (*Ticket) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "msa.policies.ticket", New: func() caddy.Module { return new(Ticket) }}
}

var isProject = regexp.MustCompile(`^[A-Z][A-Z0-9]*$`)

// Provision checks the configuration, which fails the load with an error that says what to do.
func (t *Ticket) Provision(caddy.Context) error {
	if len(t.Projects) == 0 {
		return errors.New("projects is required, for example: projects OPS")
	}
	for _, p := range t.Projects {
		if !isProject.MatchString(p) {
			return fmt.Errorf("project %q is not a capital letter followed by capital letters and digits", p)
		}
	}
	t.number = regexp.MustCompile(`\[((?:` + strings.Join(t.Projects, "|") + `)-[0-9]{1,9})\]`)
	return nil
}

// CheckMessage is called at the end of data, concurrently for many messages.
func (t *Ticket) CheckMessage(_ context.Context, _ *caddymsa.Submission, m *caddymsa.Message) error {
	header, err := message.HeaderOf(m) // read once for all policies
	if errors.Is(err, message.ErrHeaderTooLong) {
		return caddymsa.Refuse("projects", "The header is too long")
	}
	if err != nil {
		return err // a failure of ours: the client hears 451 and tries again
	}
	subject, _ := header.First("Subject")
	found := t.number.FindStringSubmatch(subject.Text())
	if found == nil {
		return caddymsa.Refuse("projects", "The subject names no ticket, such as [%s-1234]", t.Projects[0])
	}
	m.Prepend("X-Ticket: " + found[1] + "\r\n")
	return nil
}

// UnmarshalCaddyfile sets up the policy from Caddyfile tokens. Syntax:
//
//	policy [@matcher] ticket {
//		projects <names...>
//	}
func (t *Ticket) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the policy's name
	return conf.Block(d, conf.List("projects", &t.Projects))
}

// Interface guards
var (
	_ caddy.Provisioner      = (*Ticket)(nil)
	_ caddymsa.MessagePolicy = (*Ticket)(nil)
	_ caddyfile.Unmarshaler  = (*Ticket)(nil)
)
