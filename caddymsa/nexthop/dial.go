package nexthop

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"strings"
	"time"

	"github.com/emersion/go-smtp"
)

// errTLS says that TLS could not be had from a hop that offered it.
var errTLS = errors.New("TLS")

// dial connects and says all that comes before MAIL. No error of it is an
// *smtp.SMTPError: what is refused here is us, not a message.
func (h *Hop) dial(ctx context.Context, server string) (*peer, error) {
	p, err := h.connect(ctx, server, h.options.TLSMode)
	if h.options.TLSMode == TLSOpportunistic && errors.Is(err, errTLS) && ctx.Err() == nil {
		// Worse than a certificate that means nothing would be no delivery (RFC 7435 section 3).
		return h.connect(ctx, server, TLSOff)
	}
	return p, err
}

func (h *Hop) connect(ctx context.Context, server, mode string) (*peer, error) {
	// Not the connection, only what it takes to have one, ends with this.
	connectCtx, cancel := context.WithTimeout(ctx, h.options.Connect)
	defer cancel()
	raw, err := (&net.Dialer{LocalAddr: h.options.Bind}).DialContext(connectCtx, h.Network, h.Address)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, err
	}
	c := &conn{Conn: raw, raw: raw, data: h.options.Data}
	release := c.abortWith(ctx)
	p, err := h.introduce(ctx, c, server, mode)
	if !release() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = raw.Close()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, err
	}
	return p, nil
}

func (h *Hop) introduce(ctx context.Context, c *conn, server, mode string) (*peer, error) {
	o := h.options
	helo := o.Helo
	if helo == "" {
		helo = server
	}
	if helo == "" {
		helo = "localhost"
	}
	secure := mode == TLSImplicit
	if mode == TLSRequired || mode == TLSOpportunistic {
		if err := c.SetReadDeadline(time.Now().Add(o.Command)); err != nil {
			return nil, err
		}
		verb := "EHLO"
		if o.LMTP {
			verb = "LHLO"
		}
		r := bufio.NewReader(io.LimitReader(c, maxClear))
		greeting, offered, err := greet(c, r, verb, helo)
		switch {
		case err != nil:
			return nil, err
		case offered:
			if err := startTLS(c, r); err != nil {
				return nil, err
			}
			secure = true
			// There is no second greeting, but the client wants one to begin with.
			greeting = "220 TLS\r\n"
		case mode == TLSRequired:
			return nil, errors.New("the next hop does not offer STARTTLS, and nothing is sent in clear unless tls is off")
		}
		c.greeting = greeting
	}
	if secure {
		// A reply that sits in the clear cannot get in: this reads the socket.
		config := o.TLS
		if config.ServerName == "" {
			config = config.Clone()
			config.ServerName = h.Host
		}
		t := tls.Client(c.raw, config)
		if err := c.raw.SetDeadline(time.Now().Add(o.Command)); err != nil {
			return nil, err
		}
		if err := t.HandshakeContext(ctx); err != nil {
			return nil, fmt.Errorf("%w: %w", errTLS, err)
		}
		c.Conn = t
	}
	client := smtp.NewClient(c)
	if o.LMTP {
		client = smtp.NewClientLMTP(c)
	}
	client.CommandTimeout, client.SubmissionTimeout = o.Command, o.End
	if err := client.Hello(helo); err != nil {
		return nil, fmt.Errorf("greeting: %s", err.Error())
	}
	if o.Login != nil {
		if err := o.Login(ctx, client, h.Host); err != nil {
			return nil, err
		}
	}
	return &peer{client: client, conn: c, helo: helo}, nil
}

// maxClear is how much may be said before TLS.
const maxClear = 64 << 10

// greet is what is said in clear before STARTTLS. go-smtp's client can do this, but as EHLO localhost.
func greet(c *conn, b *bufio.Reader, verb, helo string) (greeting string, offered bool, err error) {
	r := textproto.NewReader(b)
	if _, _, err := r.ReadResponse(220); err != nil {
		return "", false, fmt.Errorf("greeting: %w", err)
	}
	if _, err := fmt.Fprintf(c, "%s %s\r\n", verb, helo); err != nil {
		return "", false, err
	}
	_, text, err := r.ReadResponse(250)
	if err != nil {
		return "", false, fmt.Errorf("%s: %w", verb, err)
	}
	for line := range strings.SplitSeq(text, "\n") {
		offered = offered || strings.EqualFold(strings.TrimSpace(line), "STARTTLS")
	}
	return "220 again\r\n", offered, nil
}

// startTLS asks for TLS (RFC 3207).
func startTLS(c *conn, b *bufio.Reader) error {
	if _, err := io.WriteString(c, "STARTTLS\r\n"); err != nil {
		return err
	}
	if _, _, err := textproto.NewReader(b).ReadResponse(220); err != nil {
		return fmt.Errorf("STARTTLS: %w", err)
	}
	if b.Buffered() > 0 { // someone in between (CVE-2011-0411, the client's side)
		return errors.New("STARTTLS: something was said in clear behind the reply")
	}
	return nil
}
