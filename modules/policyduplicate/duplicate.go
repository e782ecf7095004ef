// Package policyduplicate knows submissions that come again.
package policyduplicate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/message"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
	"github.com/caddy-msa/caddy-msa/caddymsa/terminal"
)

func init() {
	caddy.RegisterModule(new(Duplicate))
}

// Duplicate answers a submission that was accepted before with the first one's queue id, and does
// not deliver it again: for clients that send a message again because they never saw the 250.
// The same is the same user, return path, recipients (in any order) with their parameters,
// parameters of MAIL, and octets. Only a message that is durable counts; of two at the same time
// the second waits for what becomes of the first.
//
// Put it first among the policies: what was accepted before need not pass the others again.
type Duplicate struct {
	// Window is how long a submission is remembered. Default: 1h.
	Window conf.Duration `json:"window,omitempty"`
	// MaxEntries is how many are remembered at most, the latest, in some 150 octets each.
	// Default: 100000.
	MaxEntries int `json:"max_entries,omitempty"`
	// File keeps what is remembered over a restart, a crash of the process included; what was
	// accepted in the seconds before a power loss may be forgotten. Placeholders are resolved once, when
	// the config is loaded. Default: memory alone.
	File string `json:"file,omitempty"`

	memory *memory
	sharer *sharer
	key    string
	now    func() time.Time
}

// memories are what this process remembers, by file.
var memories = caddy.NewUsagePool()

// CaddyModule returns the Caddy module information.
func (*Duplicate) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "msa.policies.duplicate", New: func() caddy.Module { return new(Duplicate) }}
}

// Provision takes up what is remembered.
func (p *Duplicate) Provision(ctx caddy.Context) error {
	if p.Window < 0 || p.MaxEntries < 0 {
		return errors.New("duplicate: window and max_entries must not be negative")
	}
	if p.Window == 0 {
		p.Window = conf.Duration(time.Hour)
	}
	if p.MaxEntries == 0 {
		p.MaxEntries = 100_000
	}
	file, err := conf.Expand(p.File)
	if err != nil {
		return fmt.Errorf("duplicate: file: %w", err)
	}
	p.now, p.key = time.Now, file
	v, _, err := memories.LoadOrNew(file, func() (caddy.Destructor, error) { return newMemory(file), nil })
	if err != nil {
		return err
	}
	p.memory = v.(*memory)
	p.sharer = &sharer{time.Duration(p.Window), p.MaxEntries, terminal.Logger(ctx.Logger())}
	return p.memory.open(p.sharer, p.now())
}

// Cleanup gives it up.
func (p *Duplicate) Cleanup() error {
	if p.memory != nil {
		p.memory.leave(p.sharer)
		_, _ = memories.Delete(p.key)
	}
	return nil
}

// patience is how long the second of two submissions waits for what becomes of the first. Clients
// wait 10 minutes for this reply (RFC 5321 section 4.5.3.2.6).
const patience = time.Minute

// errSlow ends the wait.
var errSlow = &caddymsa.Refusal{Code: 451, Status: smtp.EnhancedCode{4, 3, 0}, Text: "The same message is just being received in another session, try again later"}

// CheckMessage looks whether the submission was accepted before.
func (p *Duplicate) CheckMessage(ctx context.Context, s *caddymsa.Submission, m *caddymsa.Message) error {
	if s.Value(p.memory) != nil {
		return nil // another one of these policies did
	}
	r, err := m.Open()
	if err != nil {
		return err
	}
	sum, err := digest(s.Entry, message.UntilDone(ctx, r))
	if err = errors.Join(err, r.Close()); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errSlow)
	defer cancel()
	id, err := p.memory.claim(ctx, sum, p.now().Add(-time.Duration(p.Window)))
	if err != nil {
		return err
	}
	if id == "" && s.Before != nil {
		if id, err = s.Before(ctx, sum); err != nil || id != "" {
			p.memory.forget(sum)
		}
		if err != nil {
			return err
		}
	}
	if id != "" {
		return &caddymsa.AlreadyAccepted{ID: id}
	}
	if s.Before != nil {
		s.Once = &queue.Once{Digest: sum, Keep: time.Duration(p.Window)}
	}
	s.SetValue(p.memory, true)
	s.OnEnd(func(accepted bool) {
		if !accepted {
			p.memory.forget(sum)
			return
		}
		p.memory.keep(sum, s.Entry.ID, p.now())
	})
	return nil
}

// UnmarshalCaddyfile sets up the policy from Caddyfile tokens. Syntax:
//
//	policy [@matcher] duplicate {
//		window      <duration>
//		max_entries <count>
//		file        <path>
//	}
func (p *Duplicate) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the policy's name
	return conf.Block(d,
		conf.Value("window", &p.Window),
		conf.Count("max_entries", &p.MaxEntries),
		conf.Text("file", &p.File),
	)
}

// Interface guards
var (
	_ caddy.Provisioner      = (*Duplicate)(nil)
	_ caddy.CleanerUpper     = (*Duplicate)(nil)
	_ caddymsa.MessagePolicy = (*Duplicate)(nil)
	_ caddyfile.Unmarshaler  = (*Duplicate)(nil)
)
