package smtpd

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Defaults of the waits.
const (
	defaultHandshake = 10 * time.Second
	defaultCommand   = 5 * time.Minute // RFC 5321 section 4.5.3.2.7
	defaultData      = 3 * time.Minute // RFC 5321 section 4.5.3.2.5
)

func (c *Conn) cmdSTARTTLS(arg string) error {
	if arg != "" {
		return c.bad(501, code(5, 5, 4), "STARTTLS takes no parameters")
	}
	if c.in.buffered() > 0 { // what was sent in clear must not be taken for what comes in TLS
		return &stop{reason: EndTLS, err: errors.New("clear text followed STARTTLS")}
	}
	c.reply(220, code(2, 0, 0), "Ready to start TLS")
	if err := c.out.flush(); err != nil {
		return err
	}
	if err := c.handshake(); err != nil {
		return err
	}
	// the specification's example sends AUTH with no second EHLO. What the
	// first one said is forgotten.
	c.ehlo, c.helo = true, ""
	return nil
}

// handshake runs TLS's on the socket. If it fails nothing more is said or read in clear.
func (c *Conn) handshake() error {
	c.in.release()
	c.silent = true
	c.wire = &wire{Conn: c.nc, gathers: true}
	conn := tls.Server(c.wire, c.settings.TLS)
	if err := c.armHandshake(); err != nil {
		return err
	}
	// A goroutine of its own, since the handshake's deep stack would stay with the
	// session's for as long as it lives.
	done := make(chan error, 1)
	c.options.Go(func() {
		defer func() {
			if p := recover(); p != nil {
				done <- fmt.Errorf("panic: %v", p)
			}
		}()
		done <- conn.HandshakeContext(context.WithoutCancel(c.ctx))
	})
	err := <-done
	c.wire.gathers = false
	// TLS 1.3 writes nothing after the client's last word but a ticket, which leaves with our next one: nobody waits for it.
	if err != nil || conn.ConnectionState().Version < tls.VersionTLS13 {
		err = cmp.Or(err, c.wire.flush())
	}
	if err != nil {
		c.secured(err)
		return c.handshakeFailed(err)
	}
	state := conn.ConnectionState()
	c.mu.Lock()
	c.nc, c.shaking = conn, false
	c.readBy, c.writtenBy = time.Time{}, time.Time{}
	c.mu.Unlock()
	c.tlsState, c.silent = &state, false
	c.secured(nil)
	return nil
}

func (c *Conn) secured(err error) {
	if s, ok := c.session.(Securer); ok {
		s.Secured(err)
	}
}

// armHandshake sets the deadline, and lets MakeRoom interrupt.
func (c *Conn) armHandshake() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.crowded {
		return &stop{reason: EndCrowded}
	}
	c.shaking = true
	by, _ := c.deadline(orDefault(c.settings.Handshake, defaultHandshake))
	return c.nc.SetDeadline(by)
}

func (c *Conn) handshakeFailed(err error) error {
	c.mu.Lock()
	crowded := c.crowded
	c.mu.Unlock()
	if crowded && isTimeout(err) {
		return &stop{reason: EndCrowded}
	}
	if header, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		c.end.Spoke = protocolOf(header.RecordHeader[:])
	}
	return &stop{reason: EndTLS, err: fmt.Errorf("TLS handshake: %w", err)}
}

// protocolOf guesses what a client speaks that does not speak TLS, by its first five octets.
func protocolOf(first []byte) string {
	switch strings.ToUpper(string(first)) {
	case "GET /", "HEAD ", "POST ", "PUT /", "CONNE", "OPTIO", "PRI *":
		return "HTTP"
	case "EHLO ", "HELO ", "QUIT\r", "NOOP\r", "START":
		return "SMTP"
	}
	return ""
}
