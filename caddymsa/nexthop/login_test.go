package nexthop_test

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	gosasl "github.com/emersion/go-sasl"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
	"github.com/caddy-msa/caddy-msa/caddymsa/nexthop"
	"github.com/caddy-msa/caddy-msa/caddymsa/nexthop/hoptest"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
)

// account is alice's, who may be refused.
func account(refused *int, mechanisms ...string) *nexthop.Login {
	return &nexthop.Login{
		Mechanisms: mechanisms, Refused: func() { *refused++ },
		Client: func(_ context.Context, mechanism, host string) (gosasl.Client, error) {
			switch mechanism {
			case sasl.SCRAMSHA256:
				return sasl.NewSCRAMClient("alice", "s3cret")
			case sasl.DigestMD5:
				return sasl.NewDigestMD5Client("alice", "s3cret", "", host), nil
			case gosasl.Login:
				return sasl.NewLoginClient("alice", "s3cret"), nil
			case gosasl.Plain:
				return gosasl.NewPlainClient("", "alice", "s3cret"), nil
			}
			return nil, errors.New("no token to be had")
		},
	}
}

func plainServer(password string) func() gosasl.Server {
	return func() gosasl.Server {
		return sasl.NewPlain(func(user, have string) error {
			if user != "alice" || have != password {
				return errors.New("no")
			}
			return nil
		})
	}
}

// A mechanism that is refused leaves the next one, but the password itself goes to nobody who could
// not show a certificate.
func TestNextMechanism(t *testing.T) {
	const yes, no = "235 2.7.0 yes", "535 5.7.8 no"
	for name, c := range map[string]struct {
		set     func(*nexthop.Options)
		replies []string
		offers  string
		said    string
		ok      bool
	}{
		"SCRAM refused":               {nil, []string{"AUTH SCRAM", no, "AUTH PLAIN", yes}, "SCRAM-SHA-256 PLAIN", "SCRAM-SHA-256 PLAIN", true},
		"SCRAM not known":             {nil, []string{"AUTH SCRAM", "504 5.5.4", "AUTH PLAIN", yes}, "scram-sha-256 plain", "SCRAM-SHA-256 PLAIN", true},
		"DIGEST refused":              {nil, []string{"AUTH DIGEST", no, "AUTH PLAIN", yes}, "DIGEST-MD5 PLAIN", "PLAIN", true},
		"PLAIN not known":             {nil, []string{"AUTH PLAIN", "504 5.5.4", "AUTH DIGEST", no}, "PLAIN DIGEST-MD5", "PLAIN DIGEST-MD5", false},
		"the password is wrong":       {nil, []string{"AUTH SCRAM", no, "AUTH PLAIN", no}, "SCRAM-SHA-256 PLAIN LOGIN", "SCRAM-SHA-256 PLAIN", false},
		"421":                         {nil, []string{"AUTH SCRAM", "421 4.3.2 bye"}, "SCRAM-SHA-256 PLAIN", "SCRAM-SHA-256", false},
		"in clear":                    {inClear, []string{"AUTH SCRAM", no, "AUTH PLAIN", yes}, "SCRAM-SHA-256 PLAIN", "SCRAM-SHA-256", false},
		"in clear, PLAIN alone":       {inClear, []string{"AUTH PLAIN", yes}, "PLAIN", "PLAIN", true},
		"in clear, PLAIN not known":   {inClear, []string{"AUTH PLAIN", "504 5.5.4", "AUTH LOGIN", "334", "YWxpY2U=", "334", "czNjcmV0", yes}, "PLAIN LOGIN", "PLAIN LOGIN", true},
		"nothing of ours":             {nil, nil, "CRAM-MD5", "", false},
		"as it was before RFC 2554":   {nil, []string{"AUTH PLAIN", yes}, "=PLAIN", "PLAIN", true},
		"any certificate":             {func(o *nexthop.Options) { o.TLS = &tls.Config{InsecureSkipVerify: true} }, []string{"AUTH SCRAM", no, "AUTH PLAIN", yes}, "SCRAM-SHA-256 PLAIN", "SCRAM-SHA-256", false}, //nolint:gosec // the test's
		"initial response not heard":  {nil, []string{"AUTH PLAIN", "334 ", "AGFsaWNlAHMzY3JldA==", yes}, "PLAIN", "PLAIN", true},
		"initial response too much":   {nil, []string{"AUTH PLAIN ", "500 line too long", "AUTH PLAIN", "334 go on", "AGFsaWNlAHMzY3JldA==", yes}, "PLAIN", "PLAIN PLAIN", true},
		"no initial response, please": {nil, []string{"AUTH PLAIN ", "501 5.5.4 no", "AUTH PLAIN", "334", "AGFsaWNlAHMzY3JldA==", yes}, "PLAIN", "PLAIN PLAIN", true},
	} {
		t.Run(name, func(t *testing.T) {
			h := hoptest.New(t, func(h *hoptest.Hop) {
				h.Extensions = append([]string{"AUTH" + strings.Replace(" "+c.offers, " =", "=", 1)}, h.Extensions...)
				hoptest.On(c.replies...)(h)
			})
			refused := 0
			d := letter()
			err := to(h, func(o *nexthop.Options) {
				if c.set != nil {
					c.set(o)
				}
				o.Login = account(&refused, sasl.SCRAMSHA256, gosasl.Plain, gosasl.Login, sasl.DigestMD5)
			}).Deliver(t.Context(), d)
			var said []string
			for _, line := range h.Said("AUTH") {
				said = append(said, strings.Fields(line)[1])
			}
			if (err == nil) != c.ok || strings.Join(said, " ") != c.said || err != nil && (!queue.IsUnreachable(err) || msatest.IsPermanent(err)) {
				t.Errorf("%v after %q", err, said)
			}
			if err != nil && strings.Contains(err.Error(), "s3cret") || (refused > 0) != (err != nil && c.said != "") {
				t.Errorf("%v, refused %d times", err, refused)
			}
		})
	}
}

// A hop that hangs up behind its refusal is asked for the next mechanism on another connection.
func TestNextMechanismAfterHangingUp(t *testing.T) {
	for verified, want := range map[bool]string{true: "SCRAM-SHA-256 PLAIN PLAIN", false: "SCRAM-SHA-256"} {
		h := hoptest.New(t, func(h *hoptest.Hop) {
			h.Extensions = append([]string{"AUTH SCRAM-SHA-256 PLAIN"}, h.Extensions...)
			h.Reply = func(line string) string {
				switch {
				case strings.HasPrefix(line, "AUTH SCRAM"):
					return "535 5.7.8 no"
				case strings.HasPrefix(line, "AUTH") && h.Connections() == 1:
					return "close"
				case strings.HasPrefix(line, "AUTH"):
					return "235 2.7.0 yes"
				}
				return ""
			}
		})
		n := 0
		err := to(h, func(o *nexthop.Options) {
			o.Login = account(&n, sasl.SCRAMSHA256, gosasl.Plain)
			if !verified {
				o.TLS = &tls.Config{InsecureSkipVerify: true} //nolint:gosec // the test's
			}
		}).Deliver(t.Context(), letter())
		var said []string
		for _, line := range h.Said("AUTH") {
			said = append(said, strings.Fields(line)[1])
		}
		if (err == nil) != verified || strings.Join(said, " ") != want {
			t.Errorf("%v after %q", err, said)
		}
	}
}

// LOGIN has no initial response, and prompts that say whatever they like.
func TestLOGIN(t *testing.T) {
	user, password := base64.StdEncoding.EncodeToString([]byte("alice")), base64.StdEncoding.EncodeToString([]byte("s3cret"))
	for _, prompts := range [][2]string{{"334 VXNlcm5hbWU6", "334 UGFzc3dvcmQA"}, {"334", "334 "}, {"334 Who are you?", "334-And\r\n334 your password?"}} {
		h := hoptest.New(t, func(h *hoptest.Hop) {
			h.Extensions = []string{"AUTH LOGIN"}
			hoptest.On("AUTH LOGIN", prompts[0], user, prompts[1], password, "235 2.7.0 yes")(h)
		})
		refused := 0
		if err := to(h, func(o *nexthop.Options) { o.Login = account(&refused, gosasl.Login) }).Deliver(t.Context(), letter()); err != nil || h.Said("AUTH")[0] != "AUTH LOGIN" {
			t.Errorf("%v, %q", err, h.Said(""))
		}
	}
	h := hoptest.New(t, hoptest.On("AUTH LOGIN", "334", user, "334", password, "334 more?"))
	refused := 0
	err := to(h, func(o *nexthop.Options) { o.Login = account(&refused, gosasl.Login) }).Deliver(t.Context(), letter())
	wantTemporary(t, err, "log in with LOGIN")
	if refused != 1 || len(h.Said("*")) != 1 {
		t.Errorf("%q", h.Said(""))
	}
}

// What goes wrong within an exchange is the lane's, and the exchange is cancelled.
func TestExchange(t *testing.T) {
	for reply, want := range map[string]string{
		"334 %%%": "log in with SCRAM-SHA-256: illegal base64", "334 eA==": "log in with SCRAM-SHA-256:",
		"235 2.7.0 yes": "did not prove", "250 yes": "did not prove", "close": "EOF",
	} {
		h := hoptest.New(t, hoptest.On("AUTH SCRAM", reply, "*", "501 cancelled"))
		refused := 0
		err := to(h, func(o *nexthop.Options) { o.Login = account(&refused, sasl.SCRAMSHA256) }).Deliver(t.Context(), letter())
		wantTemporary(t, err, want)
		if !queue.IsUnreachable(err) {
			t.Error(err)
		}
	}
	h := hoptest.New(t, nil)
	refused := 0
	err := to(h, func(o *nexthop.Options) { o.Login = account(&refused, sasl.XOAuth2) }).Deliver(t.Context(), letter())
	wantTemporary(t, err, "log in: no token to be had")
}

// A hop that asks for ever is asked to stop.
func TestEndlessExchange(t *testing.T) {
	for mechanism, client := range map[string]gosasl.Client{
		sasl.XOAuth2: sasl.NewXOAuth2Client("alice", "token"), gosasl.OAuthBearer: sasl.NewOAuthBearerClient("alice", "token"),
	} {
		var asked, cancelled atomic.Int64
		h := hoptest.New(t, nil)
		h.Reply = func(line string) string {
			switch {
			case line == "*":
				cancelled.Add(1)
				return "501 5.7.0 cancelled"
			case line == "connect", line == "STARTTLS", strings.HasPrefix(line, "EHLO"):
				return ""
			}
			if asked.Add(1) > 100 { // the test's end, without the bound
				return "close"
			}
			return "334 "
		}
		refused := 0
		login := &nexthop.Login{Mechanisms: []string{mechanism}, Refused: func() { refused++ }, Client: func(context.Context, string, string) (gosasl.Client, error) {
			return client, nil
		}}
		err := to(h, func(o *nexthop.Options) { o.Login = login }).Deliver(t.Context(), letter())
		wantTemporary(t, err, "does not stop asking")
		if asked.Load() > 12 || cancelled.Load() != 1 || refused != 1 || !queue.IsUnreachable(err) {
			t.Errorf("%s: %v, asked %d times, cancelled %d, refused %d", mechanism, err, asked.Load(), cancelled.Load(), refused)
		}
	}
}

// An initial response that makes the command too long for some hops comes as an answer (RFC 4954 section 4).
func TestLongResponse(t *testing.T) {
	h := hoptest.New(t, hoptest.On("AUTH XOAUTH2", "334", base64.StdEncoding.EncodeToString([]byte("user=alice")), "235 2.7.0 yes"))
	login := &nexthop.Login{Mechanisms: []string{sasl.XOAuth2}, Client: func(context.Context, string, string) (gosasl.Client, error) {
		return sasl.NewXOAuth2Client("alice", strings.Repeat("x", 600)), nil
	}}
	h.Reply = func(line string) string {
		switch {
		case line == "AUTH XOAUTH2":
			return "334"
		case strings.HasPrefix(line, "dXNlcj1hbGljZ"):
			return "235 2.7.0 yes"
		}
		return ""
	}
	if err := to(h, func(o *nexthop.Options) { o.Login = login }).Deliver(t.Context(), letter()); err != nil {
		t.Errorf("%v, %q", err, h.Said(""))
	}
}

// The real other side of each mechanism lets us in.
func TestMechanisms(t *testing.T) {
	h := hoptest.New(t, func(h *hoptest.Hop) { h.Auth = map[string]func() gosasl.Server{"PLAIN": plainServer("s3cret")} })
	refused := 0
	r := to(h, func(o *nexthop.Options) { o.Login = account(&refused, sasl.SCRAMSHA256, gosasl.Plain); o.Idle = -1 })
	for range 2 {
		if err := r.Deliver(t.Context(), letter()); err != nil {
			t.Error(err)
		}
	}
	h = hoptest.New(t, func(h *hoptest.Hop) { h.Auth = map[string]func() gosasl.Server{"PLAIN": plainServer("other")} })
	err := to(h, func(o *nexthop.Options) { o.Login = account(&refused, gosasl.Plain) }).Deliver(t.Context(), letter())
	if f := nexthop.AsFailure(err); f == nil || !f.Lane || f.Reply == nil || f.Reply.Code != 535 || refused != 1 {
		t.Errorf("%v, %+v", err, f)
	}
}
