package outside

import (
	"context"
	"crypto/tls"
	"errors"
	"os"
	"regexp"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
)

// injection looks whether what is said in clear survives into TLS (R-06, CVE-2011-0411), and whether a failed handshake leaves
// the connection in clear.
func (p port) injection(ctx context.Context) *doctor.Notes {
	n := p.about("R-06")
	p.inject(ctx, n)
	p.failHandshake(ctx, n)
	if n.Clean() {
		n.OK("nothing said in clear survives into TLS, and a failed handshake ends the connection")
	}
	return n
}

func (p port) inject(ctx context.Context, n *doctor.Notes) {
	c, err := p.hello(ctx)
	if err != nil {
		n.Skip("try again", "no connection: %s", short(err.Error()))
		return
	}
	defer c.close()
	if c.send("STARTTLS\r\nNOOP\r\n") != nil {
		return
	}
	r, err := c.reply()
	if err != nil || r.code != 220 { // dropped, or refused: nothing was executed
		return
	}
	const inClear = "a command that follows STARTTLS in clear is executed in clear: %s"
	if c.r.Buffered() > 0 {
		if r, err := c.reply(); err == nil {
			n.Wrong(p.updated(), inClear, r)
			return
		}
	}
	if err := c.handshake(p.config()); err != nil {
		if said, ok := errors.AsType[tls.RecordHeaderError](err); ok && replyInClear.Match(said.RecordHeader[:]) {
			n.Wrong(p.updated(), inClear, short(string(said.RecordHeader[:])+"..."))
		}
		return
	}
	// Two replies to one command: no silence has to be waited for.
	first, err := c.ask("QUIT")
	if err != nil || first.code == 221 {
		return
	}
	if _, err := c.reply(); err == nil {
		n.Wrong(p.updated(), "a command that follows STARTTLS in clear is executed within TLS: whoever is in between can add commands to what a client says (CVE-2011-0411): %s", first)
	}
}

func (p port) updated() string {
	if p.Ours {
		return p.gate()
	}
	return "update the server: what is in its buffer when TLS begins must be thrown away"
}

// replyInClear is a reply, which no alert of TLS looks like.
var replyInClear = regexp.MustCompile(`(?m)^[2-5]\d\d[ -]`)

// failHandshake answers STARTTLS with what is no handshake. Nothing more is to be said in clear, and the connection is to end.
func (p port) failHandshake(ctx context.Context, n *doctor.Notes) {
	c, err := p.hello(ctx)
	if err != nil {
		return
	}
	defer c.close()
	if r, err := c.ask("STARTTLS"); err != nil || r.code != 220 {
		return
	}
	if c.send("NOOP\r\nNOOP\r\n") != nil {
		return
	}
	_ = c.nc.SetReadDeadline(time.Now().Add(p.Timeout))
	buf := make([]byte, 512)
	read := 0
	for err = nil; err == nil && read < len(buf) && !replyInClear.Match(buf[:read]); {
		var more int
		more, err = c.r.Read(buf[read:])
		read += more
	}
	said := string(buf[:read])
	switch {
	case replyInClear.MatchString(said):
		n.Wrong(p.updated(), "after a failed handshake it goes on in clear: %q", short(said))
	case errors.Is(err, os.ErrDeadlineExceeded):
		n.Warn("have the server end a connection whose handshake fails", "a failed handshake does not end the connection within %s", p.Timeout)
	}
}
