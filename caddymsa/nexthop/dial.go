package nexthop

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"
)

// dial connects and says all that comes before MAIL. Whatever it meets concerns the hop, not the
// message.
func (h *Hop) dial(ctx context.Context, hello, mode string) (*connection, error) {
	a := &approach{mode: mode}
	for {
		p, err := h.connect(ctx, hello, a)
		if err == nil {
			p.guessed = a.guessed()
			p.offers.pipelining = p.offers.pipelining && !h.getsSingly(time.Now())
			p.makeshift = p.guessed || p.spurned || a.mode != h.options.TLSMode
		}
		if err == nil || ctx.Err() != nil || !a.learn(err) {
			return p, err
		}
	}
}

func (h *Hop) connect(ctx context.Context, hello string, a *approach) (*connection, error) {
	// Not the connection, only what it takes to have one, ends with this.
	connectCtx, cancel := context.WithTimeout(ctx, h.options.Connect)
	defer cancel()
	conn, err := (&net.Dialer{LocalAddr: h.options.Bind}).DialContext(connectCtx, h.Network, h.Address)
	if err != nil {
		return nil, cmp.Or(ctx.Err(), err) // which says so in other words
	}
	p := &connection{wire: newWire(conn, h.options.Data), address: conn.RemoteAddr().String(), hello: hello}
	release := p.abortWith(ctx)
	err = h.introduce(ctx, p, a)
	if !release() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return p, nil
}

// introduce says what comes before the first message.
func (h *Hop) introduce(ctx context.Context, p *connection, a *approach) error {
	if a.mode == TLSImplicit {
		if err := h.startTLS(ctx, p); err != nil {
			return err
		}
	}
	greeting, err := p.reply(h.options.greeting())
	switch {
	case err != nil:
		return fmt.Errorf("greeting: %w", err)
	case !greeting.positive():
		return refused("greeting", greeting)
	}
	if err := h.sayHello(p, a); err != nil {
		return err
	}
	if a.mode == TLSRequired || a.mode == TLSOpportunistic && p.offers.startTLS {
		upgraded, err := h.upgrade(ctx, p, a.mode)
		if err != nil {
			return err
		}
		if upgraded {
			// What was offered in clear is void (RFC 3207 section 4.2). That the hop has not liked the
			// handshake after all shows here, too, with TLS 1.3.
			if err := h.sayHello(p, a); err != nil {
				return fmt.Errorf("%w: %w", errTLS, err)
			}
		}
	}
	if h.options.Login != nil {
		return h.login(ctx, p, a.without)
	}
	return nil
}

// sayHello says EHLO, or HELO to a hop that does not know that (RFC 5321 section 3.2).
func (h *Hop) sayHello(p *connection, a *approach) error {
	verb := "EHLO"
	if h.options.LMTP {
		verb = "LHLO"
	}
	needless := !h.options.LMTP && a.mode != TLSRequired && h.options.Login == nil // extensions
	if a.helo {
		verb = "HELO"
	}
	r, err := p.ask(verb+" "+p.hello, h.options.Command)
	if err == nil && r.code/100 == 5 && needless && !a.helo {
		verb, a.refused = "HELO", true
		r, err = p.ask(verb+" "+p.hello, h.options.Command)
	}
	switch {
	case err != nil && needless && isClosed(err):
		return fmt.Errorf("%s: %w: %w", verb, errHello, err)
	case err != nil:
		return fmt.Errorf("%s: %w", verb, err)
	case !r.positive() || r.code == 220: // a second greeting
		return refused(verb, r)
	}
	p.offers = extensions{}
	if verb != "HELO" {
		p.offers = parseExtensions(r.lines)
	} else if h.options.SaidHELO != nil {
		h.options.SaidHELO(h.Host, p.address)
	}
	return nil
}

// upgrade asks for TLS (RFC 3207). It is false if the hop refused that and may go on without.
func (h *Hop) upgrade(ctx context.Context, p *connection, mode string) (bool, error) {
	if !p.offers.startTLS {
		return false, errors.New("the next hop does not offer STARTTLS, and nothing is sent in clear unless tls is off")
	}
	r, err := p.ask("STARTTLS", h.options.Command)
	switch {
	case err != nil:
		return false, fmt.Errorf("%w: STARTTLS: %w", errTLS, err)
	case r.negative() && r.code != 421 && mode == TLSOpportunistic:
		p.spurned = true
		return false, nil
	case r.code != 220:
		return false, fmt.Errorf("%w: %w", errTLS, refused("STARTTLS", r))
	case p.r.Buffered() > 0: // someone in between (CVE-2011-0411, the client's side)
		return false, errors.New("STARTTLS: something was said in clear behind the reply")
	}
	return true, h.startTLS(ctx, p)
}

// startTLS begins TLS on the connection.
func (h *Hop) startTLS(ctx context.Context, p *connection) error {
	config := h.options.TLS
	if config.ServerName == "" {
		config = config.Clone()
		config.ServerName = h.Host
	}
	t := tls.Client(p.raw, config)
	if err := p.raw.SetDeadline(time.Now().Add(h.options.greeting())); err != nil {
		return err
	}
	p.readBy, p.writtenBy = time.Time{}, time.Time{}
	if err := t.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("%w: %w", errTLS, plain(err))
	}
	p.conn = t
	p.r.Reset(t) // what was said in clear is left behind
	state := t.ConnectionState()
	p.tls = tls.VersionName(state.Version) + " " + tls.CipherSuiteName(state.CipherSuite)
	p.verified = !config.InsecureSkipVerify
	return nil
}
