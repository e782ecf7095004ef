package outside

import (
	"context"
	"fmt"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
)

// Submit is a message to submit, which goes where the operator says that it does no harm.
type Submit struct {
	From, To string
}

// submits submits a message.
func (p port) submits(ctx context.Context) *doctor.Notes {
	n := p.about("submission")
	c, err := p.secured(ctx)
	if err != nil {
		n.Skip("see the finding on the certificate", "no TLS: %s", short(err.Error()))
		return n
	}
	defer c.quit()
	offered, err := c.offered()
	if err == nil {
		err = c.logInWith(offered)
	}
	if err != nil {
		n.Skip("see the finding on the login", "%s", short(err.Error()))
		return n
	}
	began := time.Now()
	text := fmt.Sprintf("From: <%s>\r\nTo: <%s>\r\nSubject: Test by caddy msa doctor\r\nDate: %s\r\nMessage-ID: <%d.caddy-msa-doctor@%s>\r\nAuto-Submitted: auto-generated\r\n\r\nSent by caddy msa doctor.\r\n",
		p.Submit.From, p.Submit.To, p.Now().Format(time.RFC1123Z), p.Now().UnixNano(), p.Hello)
	for _, step := range []struct {
		name, line string
		want       int
		remedy     string
	}{
		{"the sender " + p.Submit.From, "MAIL FROM:<" + p.Submit.From + ">", 250, "name a sender that is the user's own with --from; the reply names the policy that refused it"},
		{"the recipient " + p.Submit.To, "RCPT TO:<" + p.Submit.To + ">", 250, "the reply says why: is there a route for the recipient? Name one that a discard route takes with --submit"},
		{"DATA", "DATA", 354, "see the server's log"},
		{"the message", text + ".", 250, "the reply says why; with 4yz the spool or a policy is in trouble, see the server's log"},
	} {
		r, err := c.ask(step.line)
		switch {
		case err != nil:
			n.Wrong("see the server's log", "%s: %s", short(step.name), short(err.Error()))
			return n
		case r.code != step.want:
			n.Wrong(step.remedy, "%s is refused: %s", short(step.name), r)
			return n
		case r.code == 250 && step.name == "the message":
			n.OK("a message is taken, in %s: %s", time.Since(began).Round(time.Millisecond), r)
		}
	}
	return n
}

// logInWith logs in with the best mechanism, where there is an account.
func (c *conversation) logInWith(offered []string) error {
	if c.p.Login == nil {
		return nil
	}
	for _, m := range preferred {
		for _, o := range offered {
			if o != m {
				continue
			}
			r, err := c.authenticate(m, c.p.Login)
			if err == nil && r.code != 235 {
				err = fmt.Errorf("the login is refused: %s", r)
			}
			return err
		}
	}
	return fmt.Errorf("no mechanism takes a password: %v", offered)
}
