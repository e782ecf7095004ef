package outside

import (
	"context"
	"fmt"
	"strings"

	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
)

// honoured are the commands that a server takes before TLS, in an order that they may come in.
var honoured = []string{"NOOP", "EHLO", "NOOP", "QUIT"}

// gated are lines that get 530 before TLS. What is worst if it is taken has a reason.
var gated = []struct {
	name, line string
	harm       string
}{
	{"HELO", "HELO doctor.invalid", ""},
	{"AUTH", "AUTH PLAIN", "a password would go in clear"}, // without one: it would count as a guess
	{"MAIL", "MAIL FROM:<doctor@doctor.invalid>", "a message would go in clear"},
	{"RCPT", "RCPT TO:<postmaster@doctor.invalid>", "a message would go in clear"},
	{"DATA", "DATA", "a message would go in clear"},
	{"RSET", "RSET", ""},
	{"VRFY", "VRFY postmaster", "addresses would be told to strangers"},
	{"EXPN", "EXPN staff", "addresses would be told to strangers"},
	{"HELP", "HELP", ""},
	{"an unknown word", "XDOCTOR", ""},
	{"an empty line", "", ""},
	{"binary junk", "\x00\xff\x80\x01", ""},
}

// atOnce is how many lines that are refused go on one connection: servers slow down and hang up after some.
const atOnce = 4

// beforeTLS looks at what a STARTTLS port honours before the handshake.
func (p port) beforeTLS(ctx context.Context) []doctor.Finding {
	few, most := p.about("R-04"), &gateNotes{Notes: p.about("R-05")}
	p.honours(ctx, few)
	for i := 0; i < len(gated); i += atOnce {
		p.refuses(ctx, most, i, min(i+atOnce, len(gated)))
	}
	p.skips(ctx, most)
	if p.Thorough {
		p.endures(ctx, most)
	}
	p.conclude(most)
	return append(few.Findings, most.Findings...)
}

// gateNotes are what became of the lines. What is not harmful is one finding for all of them.
type gateNotes struct {
	*doctor.Notes
	taken, refused, ended []string
}

func (p port) honours(ctx context.Context, n *doctor.Notes) {
	c, _, err := p.open(ctx)
	if err != nil {
		n.Wrong(p.takesFour(), "it lets nobody in any more: %s", short(err.Error()))
		return
	}
	defer c.close()
	for _, verb := range honoured {
		line, want := verb, 250
		switch verb {
		case "EHLO":
			line += " " + p.Hello
		case "QUIT":
			want = 221
		}
		r, err := c.ask(line)
		switch {
		case err != nil:
			n.Wrong(p.takesFour(), "%s before TLS: %s", verb, short(err.Error()))
			return
		case r.code != want:
			n.Wrong(p.takesFour(), "%s before TLS is answered with %s", verb, r)
		case verb == "EHLO":
			if _, ok := r.has("STARTTLS"); !ok {
				n.Wrong(p.noTLS(), "it does not offer STARTTLS")
			}
		}
	}
	if n.Clean() {
		n.OK("before TLS it takes NOOP, EHLO, STARTTLS and QUIT")
	}
}

func (p port) takesFour() string {
	return "before TLS, NOOP, EHLO, STARTTLS and QUIT are to work as in RFC 5321 and RFC 3207; does this address have too many connections?"
}

const again = "try again: does this address have too many connections?"

// refuses says some of the lines on a connection of their own.
func (p port) refuses(ctx context.Context, n *gateNotes, from, to int) {
	var c *conversation
	defer func() {
		if c != nil {
			c.quit()
		}
	}()
	asked := 0 // on this connection
	for at := from; at < to; at++ {
		g := gated[at]
		if c == nil {
			var err error
			if c, err = p.hello(ctx); err != nil {
				n.Skip(again, "no connection to say %s: %s", g.name, short(err.Error()))
				return
			}
			asked = 0
		}
		r, err := c.ask(g.line)
		if err == nil && r.code == 334 {
			_, err = c.ask("*") // cancels
		}
		if asked++; r.code == 421 && asked > 1 { // it was one too many for the connection: that says nothing of the line
			c.close()
			c = nil
			at--
			continue
		}
		n.judge(p, g.name, g.harm, r, err)
		if err != nil || r.code == 354 || r.code == 421 { // what is open would take the next line for something else
			c.close()
			c = nil
		}
	}
}

// hello connects and says EHLO.
func (p port) hello(ctx context.Context) (*conversation, error) {
	c, _, err := p.open(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := c.ehlo(); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// judge is about a line that should have got 530.
func (n *gateNotes) judge(p port, name, harm string, r reply, err error) {
	switch {
	case err != nil:
		n.ended = append(n.ended, name)
	case r.code == 530:
	case (r.code/100 == 2 || r.code/100 == 3) && harm != "" && r.code != 252:
		n.Wrong(p.gate(), "%s before TLS is taken, so that %s: %s", name, harm, r)
	case r.code/100 == 2 || r.code/100 == 3:
		n.taken = append(n.taken, fmt.Sprintf("%s (%d)", name, r.code))
	case r.code == 421:
		n.ended = append(n.ended, name+" (421)")
	default:
		n.refused = append(n.refused, fmt.Sprintf("%s (%d)", name, r.code))
	}
}

func (p port) conclude(n *gateNotes) {
	for _, said := range []struct {
		text, remedy string
		lines        []string
	}{
		{"taken before TLS, where 530 is expected: %s", p.gate(), n.taken},
		{"refused before TLS, but not with 530: %s", p.refusedOtherwise(), n.refused},
		{"these end the connection before TLS, where 530 is expected and more commands after it: %s", p.refusedOtherwise(), n.ended},
	} {
		if len(said.lines) > 0 {
			n.Warn(said.remedy, said.text, strings.Join(said.lines, ", "))
		}
	}
	if n.Clean() {
		n.OK("before TLS it refuses all other commands, and goes on: 530")
	}
}

func (p port) gate() string {
	if p.Ours {
		return "something in front answers in the place of caddy-msa: find it" + listener(p.address)
	}
	return "let nothing through before TLS (Postfix: smtpd_tls_security_level=encrypt and smtpd_tls_auth_only=yes; Exim: auth_advertise_hosts and acl_smtp_mail depending on $tls_in_cipher)"
}

func (p port) refusedOtherwise() string {
	if p.Ours {
		return p.gate()
	}
	return "leave it, unless a client of yours depends on 530, by which it hears that TLS is missing: they are refused, which is what counts"
}

// skips looks at lines that are too long, and at the octets behind BDAT, which are nobody's commands.
func (p port) skips(ctx context.Context, n *gateNotes) {
	for _, g := range []struct{ name, text string }{
		{"a line of 4000 octets", strings.Repeat("x", 3998) + "\r\n"},
		{"BDAT with its octets", "BDAT 6 LAST\r\nNOOP\r\n"},
	} {
		c, err := p.hello(ctx)
		if err != nil {
			n.Skip(again, "no connection for %s: %s", g.name, short(err.Error()))
			return
		}
		n.skip(c, g.name, g.text)
		c.close()
	}
}

// skip says something that is one command, though part of it may look like another, and then QUIT: two replies are due.
func (n *gateNotes) skip(c *conversation, name, text string) {
	if c.send(text+"QUIT\r\n") != nil {
		return
	}
	r, err := c.reply()
	n.judge(c.p, name, "", r, err)
	if err != nil || r.code == 421 {
		return
	}
	if r, err = c.reply(); err == nil && r.code != 221 {
		n.Warn(c.p.readOn(), "%s is taken for more than one command before TLS: %s", name, r)
	}
}

func (p port) readOn() string {
	if p.Ours {
		return p.gate()
	}
	return "leave it, if the server does not announce CHUNKING, without which clients do not send BDAT: only an update of the server has it read to its end what it refuses"
}

const (
	// tooMany is how many lines no server should bear that are refused: 20 are usual.
	tooMany = 40
	// tooLong is how many octets no server should read of a line.
	tooLong = 80 << 10
)

// endures looks whether strangers are shown out in the end. Others than this server may block the address for it.
func (p port) endures(ctx context.Context, n *gateNotes) {
	for _, g := range []struct {
		name   string
		strain func(*conversation) (reply, error)
	}{
		{fmt.Sprintf("%d commands that are refused", tooMany), func(c *conversation) (r reply, err error) {
			for i := 0; i < tooMany && err == nil && r.code != 421; i++ {
				r, err = c.ask("XDOCTOR")
			}
			return r, err
		}},
		{fmt.Sprintf("a line of more than %d octets", tooLong), func(c *conversation) (reply, error) {
			_ = c.send(strings.Repeat("x", tooLong) + "\r\n") // it may hang up before it has heard all
			return c.reply()
		}},
	} {
		c, err := p.hello(ctx)
		if err != nil {
			n.Skip(again, "no connection for %s: %s", g.name, short(err.Error()))
			return
		}
		if r, err := g.strain(c); err == nil && r.code != 421 || silent(err) {
			n.Warn("have the server say 421 and hang up (Postfix: smtpd_hard_error_limit; Exim: smtp_accept_max_nonmail, smtp_max_unknown_commands)", "the connection goes on after %s", g.name)
		}
		c.close()
	}
}
