package nexthop_test

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	gosasl "github.com/emersion/go-sasl"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
	"github.com/caddy-msa/caddy-msa/caddymsa/nexthop"
	"github.com/caddy-msa/caddy-msa/caddymsa/nexthop/hoptest"
)

func opportunistic(o *nexthop.Options) {
	o.TLSMode, o.TLS = nexthop.TLSOpportunistic, &tls.Config{InsecureSkipVerify: true} //nolint:gosec // as modules do
}

// Opportunistic TLS takes what there is: any certificate, none, and clear text when TLS is broken.
func TestOpportunistic(t *testing.T) {
	for name, tt := range map[string]struct {
		hop         func(*hoptest.Hop)
		secure      bool
		connections int
	}{
		"any certificate": {nil, true, 1},
		"not offered":     {func(h *hoptest.Hop) { h.TLS = nil }, false, 1},
		"broken": {func(h *hoptest.Hop) {
			h.TLS = &tls.Config{MaxVersion: tls.VersionTLS11, Certificates: h.TLS.Certificates}
		}, false, 2},
		"wants a certificate": {func(h *hoptest.Hop) { h.TLS.ClientAuth = tls.RequireAnyClientCert }, false, 2},
		"refused":             {hoptest.On("STARTTLS", "454 4.7.0 TLS not available"), false, 1},
		"not implemented":     {hoptest.On("STARTTLS", "502 5.5.1"), false, 1},
		"refused, and hangs up": {func(h *hoptest.Hop) {
			var asked atomic.Bool
			h.Reply = func(line string) string {
				switch {
				case line == "STARTTLS":
					asked.Store(true)
					return "454 4.7.0 TLS not available"
				case strings.HasPrefix(line, "MAIL") && asked.Swap(false):
					return "close"
				}
				return ""
			}
		}, false, 2},
		"misunderstood": {hoptest.On("STARTTLS", "250 2.0.0 Ok"), false, 2},
		"nonsense":      {hoptest.On("STARTTLS", "what?"), false, 2},
		"421":           {hoptest.On("STARTTLS", "421 4.3.2 bye"), false, 2},
		"hangs up":      {hoptest.On("STARTTLS", "close"), false, 2},
		"HELO":          {func(h *hoptest.Hop) { h.TLS = nil; hoptest.On("EHLO", "500 what?")(h) }, false, 1},
	} {
		t.Run(name, func(t *testing.T) {
			h := hoptest.New(t, tt.hop)
			d := letter()
			if err := to(h, opportunistic).Deliver(t.Context(), d); err != nil {
				t.Fatal(err)
			}
			if a := d.AnswerOf(d.Recipients[0]); len(h.Messages()) != 1 || tt.secure != (a.TLS != "") || h.Connections() != tt.connections {
				t.Errorf("%q on %d connections, %+v", h.Said(""), h.Connections(), a)
			}
		})
	}
	// Somebody in between who says something behind the reply is nobody to go on with.
	h := hoptest.New(t, hoptest.On("STARTTLS", "220 go\r\n250 injected"))
	wantTemporary(t, to(h, opportunistic).Deliver(t.Context(), letter()), "in clear behind the reply")
	if len(h.Said("MAIL")) != 0 {
		t.Error("MAIL after an injected reply")
	}
}

// Where TLS is required, nothing goes without.
func TestRequired(t *testing.T) {
	for name, set := range map[string]func(*hoptest.Hop){
		"not offered": func(h *hoptest.Hop) { h.TLS = nil },
		"refused":     hoptest.On("STARTTLS", "454 4.7.0 no"),
		"HELO":        hoptest.On("EHLO", "500 what?"),
		"injected":    hoptest.On("STARTTLS", "220 go\r\n250 injected"),
		"hangs up":    hoptest.On("STARTTLS", "close"),
	} {
		h := hoptest.New(t, set)
		d := letter()
		if err := to(h, nil).Deliver(t.Context(), d); err == nil || msatest.IsPermanent(err) || len(h.Said("MAIL")) != 0 {
			t.Errorf("%s: %v, %q", name, err, h.Said(""))
		}
	}
}

// RFC 5321 section 3.2: a hop that knows HELO only gets what it can take.
func TestHELO(t *testing.T) {
	set := func(h *hoptest.Hop) { h.TLS = nil; hoptest.On("EHLO", "502 5.5.1 not implemented")(h) }
	h := hoptest.New(t, set)
	if err := to(h, inClear).Deliver(t.Context(), letter()); err != nil {
		t.Fatal(err)
	}
	if have := strings.Join(h.Said(""), "|"); have != "EHLO msa.example.org|HELO msa.example.org|MAIL FROM:<alice@example.org>|RCPT TO:<bob@example.org>|DATA" {
		t.Error(have)
	}
	h = hoptest.New(t, func(h *hoptest.Hop) { set(h); h.LMTP = true; hoptest.On("LHLO", "502 what?")(h) })
	wantTemporary(t, to(h, inClear).Deliver(t.Context(), letter()), "LHLO: 502 what?")
	h = hoptest.New(t, func(h *hoptest.Hop) { set(h); hoptest.On("EHLO", "500", "HELO", "500")(h) })
	wantTemporary(t, to(h, inClear).Deliver(t.Context(), letter()), "HELO: 500")
}

// RFC 5321 section 4.2: of a code the first digit says what to do.
func TestFirstDigit(t *testing.T) {
	h := hoptest.New(t, func(h *hoptest.Hop) {
		h.TLS = nil
		hoptest.On("connect", "200 hop", "EHLO", "251-hop\r\n251 AUTH PLAIN", "AUTH", "230 welcome", "MAIL", "201 Ok", "RCPT", "299 Ok", ".", "222 Ok")(h)
	})
	refused := 0
	r := to(h, func(o *nexthop.Options) { inClear(o); o.Login = account(&refused, gosasl.Plain) })
	if err := outcomes(t, r, letter())[0]; err != nil || len(h.Messages()) != 1 {
		t.Errorf("%v, %q", err, h.Said(""))
	}
	// But a second greeting is no answer to EHLO.
	h = hoptest.New(t, func(h *hoptest.Hop) { h.TLS = nil; hoptest.On("connect", "220 one\r\n220 two")(h) })
	wantTemporary(t, to(h, inClear).Deliver(t.Context(), letter()), "EHLO: unexpected reply: 220 two")
	if len(h.Said("MAIL")) != 0 {
		t.Errorf("%q", h.Said(""))
	}
	r = conversation(t, func(c net.Conn, r *bufio.Reader) {
		_, _ = io.WriteString(c, "220 x\r\n")
		upTo(r, "EHLO")
		_, _ = io.WriteString(c, "250-x\r\n250 PIPELINING\r\n")
		upTo(r, "DATA")
		_, _ = io.WriteString(c, "250 a\r\n250 b\r\n350 go\r\n")
		upTo(r, ".")
		_, _ = io.WriteString(c, "250 taken\r\n")
	})
	if err := outcomes(t, r, letter())[0]; err != nil {
		t.Error(err)
	}
}

// RFC 5321 section 4.2: text behind a code is optional, and keywords come in any case.
func TestBareReplies(t *testing.T) {
	h := hoptest.New(t, func(h *hoptest.Hop) {
		h.TLS = nil
		h.Extensions = []string{"pipelining", "8bitMime", "Size 100", "dsn"}
		hoptest.On("connect", "220-one\r\n220", "MAIL", "250", "RCPT", "250", "DATA", "354", ".", "250")(h)
	})
	d := letter()
	d.Recipients[0].Notify = []string{"NEVER"}
	if err := to(h, inClear).Deliver(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	if len(h.Messages()) != 1 || h.Said("MAIL")[0] != "MAIL FROM:<alice@example.org> BODY=8BITMIME SIZE=25" || h.Said("RCPT")[0] != "RCPT TO:<bob@example.org> NOTIFY=NEVER" {
		t.Errorf("%q", h.Said(""))
	}
}
