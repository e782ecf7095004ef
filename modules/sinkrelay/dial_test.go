package sinkrelay

import (
	"errors"
	"strings"
	"testing"

	gosasl "github.com/emersion/go-sasl"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
	"github.com/caddy-msa/caddy-msa/caddymsa/nexthop/hoptest"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
)

func TestTLS(t *testing.T) {
	d := func() *queue.Delivery { return msatest.NewDelivery([]byte(text), "bob@example.org") }
	for _, implicit := range []bool{false, true} {
		h := hoptest.New(t, func(h *hoptest.Hop) { h.Implicit = implicit })
		other := hoptest.New(t, nil)
		wantTemporary(t, sink(h, func(r *Relay) { r.CA = nil }).Deliver(t.Context(), d()), "TLS: tls: failed to verify certificate")
		wantTemporary(t, sink(h, func(r *Relay) { r.CA = []string{other.Root} }).Deliver(t.Context(), d()), "TLS: tls: failed to verify certificate")
		wantTemporary(t, sink(h, func(r *Relay) { r.ServerName = "other.example" }).Deliver(t.Context(), d()), "other.example")
		for _, set := range []func(*Relay){
			nil, func(r *Relay) { r.ServerName = "hop.example" },
			func(r *Relay) { r.CA, r.InsecureSkipVerify = nil, true },
		} {
			if err := sink(h, set).Deliver(t.Context(), d()); err != nil {
				t.Error(err)
			}
		}
		if len(h.Messages()) != 3 {
			t.Errorf("%d messages", len(h.Messages()))
		}
	}
	h := hoptest.New(t, func(h *hoptest.Hop) { h.TLS = nil })
	wantTemporary(t, sink(h, nil).Deliver(t.Context(), d()), "does not offer STARTTLS")
	h = hoptest.New(t, hoptest.On("STARTTLS", "220 go\r\n250 injected"))
	wantTemporary(t, sink(h, nil).Deliver(t.Context(), d()), "")
	if len(h.Said("MAIL")) != 0 {
		t.Error("MAIL after an injected reply")
	}
}

func TestAuth(t *testing.T) {
	check := func(user, password string) error {
		if user != "alice" || password != "s3cret" {
			return errors.New("no")
		}
		return nil
	}
	credential, err := sasl.NewSCRAMCredential("s3cret", []byte("0123456789abcdef"), 4096)
	if err != nil {
		t.Fatal(err)
	}
	servers := map[string]func() gosasl.Server{
		"PLAIN": func() gosasl.Server { return sasl.NewPlain(check) },
		"LOGIN": func() gosasl.Server { return sasl.NewLogin(check) },
		"SCRAM-SHA-256": func() gosasl.Server {
			return sasl.NewSCRAM(sasl.SCRAMConfig{
				Lookup: func(string) (sasl.SCRAMCredential, error) { return credential, nil },
			})
		},
	}
	t.Setenv("MSA_PASSWORD", "s3cret")
	for _, m := range []string{"PLAIN", "LOGIN", "SCRAM-SHA-256", ""} {
		h := hoptest.New(t, func(h *hoptest.Hop) { h.Auth = servers })
		login := func(password conf.Secret) error {
			return sink(h, func(r *Relay) { r.Auth = &Auth{Username: "alice", Password: password, Mechanism: m} }).
				Deliver(t.Context(), msatest.NewDelivery([]byte(text), "bob@example.org"))
		}
		for range 2 {
			if err := login("{env.MSA_PASSWORD}"); err != nil {
				t.Errorf("%s: %v", m, err)
			}
		}
		err := login("wr0ng")
		wantTemporary(t, err, "log in with")
		if strings.Contains(err.Error(), "wr0ng") {
			t.Errorf("the password is in %v", err)
		}
		if m == "" && len(h.Said("AUTH SCRAM-SHA-256")) != 3 {
			t.Errorf("chose %q", h.Said("AUTH"))
		}
	}
	h := hoptest.New(t, nil)
	wantTemporary(t, sink(h, func(r *Relay) { r.Auth = &Auth{Username: "alice", Password: "x"} }).
		Deliver(t.Context(), msatest.NewDelivery([]byte(text), "bob@example.org")), "offers no mechanism")
}

// Nobody there: temporary, and it says who.
func TestUnreachable(t *testing.T) {
	r := &Relay{Host: "127.0.0.1:1"}
	if err := r.Provision(caddyContext); err != nil {
		t.Fatal(err)
	}
	wantTemporary(t, r.Deliver(t.Context(), msatest.NewDelivery([]byte(text), "bob@example.org")), "relay to 127.0.0.1:1")
}
