package app

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// A reload drops nobody: a session, a transaction and an AUTH that are open go on by the new
// configuration.
func TestReloadUnderSessions(t *testing.T) {
	in := newInstance(t)
	in.load()
	idle, transacting, authenticating := in.session(), in.session(), in.connectTLS()
	transacting.envelope("bob@example.net")
	transacting.do("DATA", "354")
	transacting.send(letter)
	authenticating.do("EHLO client.example", "250")
	authenticating.do("AUTH LOGIN", "334")

	in.load(with("received", "no_client"), with("policies", []any{map[string]any{"policy": map[string]any{"module": "fake", "world": in.mail.id}}}))
	var moments []string
	in.mail.change(func() {
		in.mail.policy = func(at string, _ *caddymsa.Submission, _ *caddymsa.Message) error {
			in.mail.change(func() { moments = append(moments, at) })
			return nil
		}
	})
	transacting.send(".\r\n")
	transacting.want("250 2.0.0 Ok: queued as ")
	authenticating.do(b64("alice@example.org"), "334")
	authenticating.do(b64("secret"), "235 2.7.0")
	idle.submit("carol@example.net")
	authenticating.submit("dave@example.net")
	for _, d := range in.arrived(3) {
		if !strings.HasPrefix(d.message, "Received: by ") && strings.Contains(d.message, "client.example") {
			t.Errorf("the new configuration's Received shows no client: %q", d.message)
		}
	}
	in.mail.change(func() {
		if len(moments) < 3 || strings.Join(moments[:3], " ") != "sender recipient message" {
			t.Errorf("the transaction was checked again at %v", moments)
		}
	})
}

// R-22, decision 3: an identity is only as good as its backend's latest word.
func TestLoginIsAskedAgain(t *testing.T) {
	for name, change := range map[string]func(w *world){
		"gone":             func(w *world) { delete(w.users, "alice@example.org") },
		"another password": func(w *world) { w.users["alice@example.org"] = "changed" },
	} {
		t.Run(name, func(t *testing.T) {
			in := newInstance(t)
			in.load()
			c := in.session()
			c.submit("bob@example.net")
			in.mail.change(func() { change(in.mail); in.mail.revision++ })
			c.do("MAIL FROM:<alice@example.org>", "421 4.7.0")
			c.closed()
		})
	}
	t.Run("cannot tell", func(t *testing.T) {
		in := newInstance(t)
		in.load()
		c := in.session()
		in.mail.change(func() { in.mail.backend = errors.New("down"); in.mail.revision++ })
		c.do("MAIL FROM:<alice@example.org>", "451 4.3.0")
		in.mail.change(func() { in.mail.backend = nil })
		c.do("MAIL FROM:<alice@example.org>", "250")
	})
	t.Run("another backend", func(t *testing.T) {
		in := newInstance(t)
		in.load()
		c := in.session()
		in.load(with("auth", map[string]any{"backends": []any{map[string]any{"module": "fake", "id": "other", "world": in.mail.id}}}))
		c.do("MAIL FROM:<alice@example.org>", "421 4.7.0")
		c.closed()
	})
}

// A server that no configuration has any more says 421 and closes.
func TestServerRemoved(t *testing.T) {
	in := newInstance(t)
	in.load()
	c := in.session()
	in.load(with("listen", []string{"unix/" + in.dir + "/other"}), with("listen_tls", []string{"unix/" + in.dir + "/other-tls"}))
	c.want("421 4.3.2")
	c.closed()
	in.dial("other", nil).do("EHLO x", "250")
}

// A reload that fails leaves the old configuration in charge.
func TestFailedReload(t *testing.T) {
	in := newInstance(t)
	in.load()
	c := in.session()
	in.refuses(with("hostname", ""), "server main", "hostname is required")
	in.refuses(with("routes", []any{}), "server main", "route")
	in.refuses(with("auth", nil), "auth is required")
	in.refuses(with("notify", []any{map[string]any{"concurrency": 1_000_000_000, "notifier": map[string]any{"module": "fake", "world": in.mail.id}}}), "concurrency: 1000000000 is too large; 10000 is the most")
	in.refuses(with("auth", map[string]any{"backends": []any{}}), "at least one backend")
	for name, value := range map[string]any{
		"auth":     map[string]any{"backends": []any{map[string]any{"password": "s3cret"}}},
		"policies": []any{map[string]any{"policy": map[string]any{"password": "s3cret"}}},
		"routes":   []any{map[string]any{"sink": map[string]any{"password": "s3cret"}}},
	} {
		if err := caddy.Load(in.config(with(name, value)), true); err == nil || strings.Contains(err.Error(), "s3cret") || !strings.Contains(err.Error(), `needs a member "module"`) {
			t.Errorf("%s without a module: %v", name, err)
		}
	}
	in.refuses(with("auth", map[string]any{"mechanisms": []string{"EXTERNAL"}, "backends": []any{map[string]any{"module": "fake", "world": in.mail.id}}}), "EXTERNAL", "no backend can serve it", "fake (scram, digest, password, token)")
	in.refuses(with("auth", map[string]any{"announce_before_tls": []string{"PLAIN"}, "backends": []any{map[string]any{"module": "fake", "world": in.mail.id}}}), "announce_before_tls", "PLAIN")
	in.refuses(with("auth", map[string]any{"backends": []any{map[string]any{"module": "fake", "id": "x"}, map[string]any{"module": "fake", "id": "x"}}}), "backend 2")
	in.refuses(with("limits", map[string]any{"recipients": 10}), "recipients", "100")
	in.refuses(with("limits", map[string]any{"message_size": -1}), "message_size")
	in.refuses(with("listen", []string{""}), "not an address to listen on")
	in.refuses(with("auth", map[string]any{"realms": []string{"a", "b", "a"}, "backends": []any{map[string]any{"module": "fake", "world": in.mail.id}}}), "realms: a is specified twice")
	in.refuses(with("bounces", map[string]any{"sink": map[string]any{"module": "fake", "world": in.mail.id}, "unqueued": map[string]any{}}), "bounces", "unqueued is for routes")
	in.refuses(with("timeouts", map[string]any{"data": -1}), "data")
	in.refuses(with("received", "everything"), "received")
	in.refuses(with("newlines", "keep"), "newlines")
	in.refuses(with("listen", []string{"unix/" + in.dir + "/tls"}), "address")
	in.refuses(with("listen", []string{"udp/127.0.0.1:1"}), "udp")
	in.refuses(with("policies", []any{map[string]any{}}), "policy")
	in.refuses(with("routes", []any{map[string]any{"match": []any{map[string]any{"content": "x"}}, "sink": map[string]any{"module": "fake"}}}), "content")
	in.refuses(with("routes", []any{map[string]any{"sink": map[string]any{"module": "fake"}, "queue": map[string]any{"expire": -5}}}), "queue")
	in.refuses(with("certificates", []any{map[string]any{"certificate": in.dir + "/none.pem", "key": in.dir + "/none.key"}}), "none.pem")
	in.refuses(withAppField("queue", map[string]any{"retry": []string{"-1s"}}), "queue")
	in.refuses(withAppField("servers", map[string]any{}), "servers")
	in.refuses(withAppField("spool", map[string]any{"module": "none"}), "spool")
	c.submit("bob@example.net")
	in.arrived(1)
}

// An open transaction keeps its place over a spool that was replaced; at worst it is told to come again.
func TestSpoolReplaced(t *testing.T) {
	in := newInstance(t)
	in.load()
	c := in.session()
	in.load(withAppField("spool", map[string]any{"module": "memory", "world": in.mail.id, "disk": "another"}))
	c.submit("bob@example.net")
	in.arrived(1)
}

// Certificates are read again when they change, for whoever connects then; a broken file leaves the old.
func TestCertificateChanges(t *testing.T) {
	in := newInstance(t)
	in.load()
	in.connectTLS()
	in.write("cert.pem", []byte("broken"))
	in.logged("certificate", "cert.pem")
	in.connectTLS()
	in.certificate("cert", "msa.example.org")
	in.await("the new certificate", func() bool {
		c, err := dialTLS(in)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
}

// Listener wrappers see each connection, and apply by configuration.
func TestListenerWrappers(t *testing.T) {
	in := newInstance(t)
	in.load()
	in.connect()
	wrapper := with("listener_wrappers", []any{map[string]any{"wrapper": "fake", "world": in.mail.id}})
	in.load(wrapper)
	in.connect()
	in.connectTLS()
	in.mail.change(func() {
		if in.mail.wrapped != 2 {
			t.Errorf("%d connections wrapped", in.mail.wrapped)
		}
	})
}

// What could not be delivered comes back, by the route of bounces; and the operator sees it wait.
func TestBounce(t *testing.T) {
	in := newInstance(t)
	in.mail.sink = func(_ context.Context, d *queue.Delivery, _ *queue.Recipient) error {
		if d.Entry.Bounce {
			return nil
		}
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "No such user here"}
	}
	in.load(with("bounces", map[string]any{"sink": map[string]any{"module": "fake", "world": in.mail.id, "name": "bounces"}}))
	in.session().submit("bob@example.net")
	got := in.arrived(1)[0]
	if got.sink != "bounces" || got.sender != "" || got.recipient != "alice@example.org" || !strings.Contains(got.message, "No such user here") {
		t.Errorf("%+v", got)
	}
	in.heard("message_bounced")
}

// The process ends: sessions are told, transactions under way are finished.
func TestStop(t *testing.T) {
	in := newInstance(t)
	in.load()
	c := in.session()
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	c.want("421 4.3.2")
	c.closed()
}
