package smtpd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
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
	conn := tls.Server(c.nc, c.settings.TLS)
	if err := c.nc.SetDeadline(c.deadline(orDefault(c.settings.Handshake, defaultHandshake))); err != nil {
		return err
	}
	// A goroutine of its own, since the handshake's deep stack would stay with the
	// session's for as long as it lives.
	done := make(chan error, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				done <- fmt.Errorf("panic: %v", p)
			}
		}()
		done <- conn.HandshakeContext(context.WithoutCancel(c.ctx))
	}()
	if err := <-done; err != nil {
		return &stop{reason: EndTLS, err: fmt.Errorf("TLS handshake: %w", err)}
	}
	state := conn.ConnectionState()
	_ = conn.SetDeadline(time.Time{})
	c.mu.Lock()
	c.nc = conn
	c.mu.Unlock()
	c.tlsState = &state
	return nil
}
