package outside

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	gosasl "github.com/emersion/go-sasl"

	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
)

// Login is an account to log in with.
type Login struct {
	User, Password string
}

// preferred are the mechanisms that a password serves, best first.
var preferred = []string{sasl.SCRAMSHA256Plus, sasl.SCRAMSHA256, sasl.DigestMD5, gosasl.Plain, gosasl.Login}

// logsIn logs in with each mechanism that is offered, and stops at the first refusal: one wrong password is one failure.
func (p port) logsIn(ctx context.Context) *doctor.Notes {
	n := p.about("login")
	var good []string
	for _, m := range preferred {
		c, err := p.secured(ctx)
		if err != nil {
			n.Skip("see the finding on the certificate", "no TLS: %s", short(err.Error()))
			return n
		}
		offered, err := c.offered()
		if err == nil && !slices.Contains(offered, m) {
			c.quit()
			continue
		}
		var r reply
		if err == nil {
			r, err = c.authenticate(m, p.Login)
		}
		c.quit()
		if err != nil || r.code != 235 {
			p.loginFailed(n, m, good, r, err)
			return n
		}
		good = append(good, m)
	}
	if len(good) == 0 {
		n.Wrong(p.enableAuth(), "it offers no mechanism that takes a password")
		return n
	}
	n.OK("%s logs in with %s", short(p.Login.User), strings.Join(good, ", "))
	return n
}

func (p port) loginFailed(n *doctor.Notes, mechanism string, good []string, r reply, err error) {
	user := short(p.Login.User)
	which := "is the password right? "
	if len(good) > 0 {
		which = "the password is right (" + strings.Join(good, ", ") + " takes it): nothing is stored that " + mechanism + " needs, or its realm is another; set the password again, or take the mechanism out of those offered. "
	}
	if p.Ours {
		which += "caddy msa auth test says which backend refuses, and why"
	}
	switch {
	case err != nil:
		n.Wrong("see the server's log", "%s cannot log in with %s: %s", user, mechanism, short(err.Error()))
	case r.code == 421:
		n.Wrong("wait until the block ends, or except this network from the throttle", "%s cannot log in: this address is blocked: %s", user, r)
	case r.code/100 == 4:
		n.Wrong("a backend cannot tell: is the directory or database up? The server's log names the cause", "%s cannot log in at the moment: %s", user, r)
	default:
		n.Wrong(which, "%s cannot log in with %s: %s", user, mechanism, r)
	}
}

// offered says EHLO and returns the mechanisms.
func (c *conversation) offered() ([]string, error) {
	r, err := c.ehlo()
	list, _ := r.has("AUTH")
	return strings.Fields(strings.ToUpper(list)), err
}

// authenticate runs one exchange and returns its last reply.
func (c *conversation) authenticate(mechanism string, l *Login) (reply, error) {
	client, err := c.client(mechanism, l)
	if err != nil {
		return reply{}, err
	}
	_, initial, err := client.Start()
	if err != nil {
		return reply{}, err
	}
	line := "AUTH " + mechanism
	if initial != nil {
		line += " " + encode(initial, "=")
	}
	r, err := c.ask(line)
	for err == nil && r.code == 334 {
		challenge, _ := base64.StdEncoding.DecodeString(strings.TrimSpace(r.lines[0]))
		response, refused := client.Next(challenge)
		if refused != nil {
			_, _ = c.ask("*")
			return reply{}, fmt.Errorf("the server's part of %s is wrong: %w", mechanism, refused)
		}
		r, err = c.ask(encode(response, ""))
	}
	return r, err
}

func encode(response []byte, empty string) string {
	if len(response) == 0 {
		return empty
	}
	return base64.StdEncoding.EncodeToString(response)
}

func (c *conversation) client(mechanism string, l *Login) (gosasl.Client, error) {
	switch mechanism {
	case sasl.SCRAMSHA256Plus:
		state := c.nc.(*tls.Conn).ConnectionState()
		binding, err := sasl.TLSExporter(&state)
		if err != nil {
			return nil, err
		}
		return sasl.NewSCRAMPlusClient(l.User, l.Password, binding)
	case sasl.SCRAMSHA256:
		return sasl.NewSCRAMClient(l.User, l.Password)
	case sasl.DigestMD5:
		return sasl.NewDigestMD5Client(l.User, l.Password, "", c.p.Hostname), nil
	case gosasl.Login:
		return sasl.NewLoginClient(l.User, l.Password), nil
	default:
		return gosasl.NewPlainClient("", l.User, l.Password), nil
	}
}
