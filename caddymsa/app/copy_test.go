package app

import (
	"context"
	"errors"
	"strings"
	"testing"

	"go.uber.org/zap"
	zapobserver "go.uber.org/zap/zaptest/observer"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

func (in *instance) fake(name string) map[string]any {
	return map[string]any{"module": "fake", "world": in.mail.id, "name": name}
}

// withCopies is a configuration that makes them.
func (in *instance) withCopies(copies ...map[string]any) func(server, app map[string]any) {
	var all []any
	for _, c := range copies {
		all = append(all, c)
	}
	return with("copies", all)
}

// of are the copies that reached a sink.
func (in *instance) of(sink string) (all []delivered) {
	for _, d := range in.mail.copies() {
		if d.sink == sink {
			all = append(all, d)
		}
	}
	return all
}

// Every message goes to its recipients, to each copy whose matchers match one of them with its whole envelope, and
// to the address that a copy names instead; each has the same octets.
func TestCopies(t *testing.T) {
	in := newInstance(t)
	in.load(in.withCopies(
		map[string]any{"sink": in.fake("archive")},
		map[string]any{"name": "net", "sink": in.fake("net"), "match": []any{map[string]any{"domain": []string{"example.net"}}}},
		map[string]any{"name": "org", "sink": in.fake("org"), "match": []any{map[string]any{"domain": []string{"example.org"}}}},
		map[string]any{"name": "bcc", "sink": in.fake("bcc"), "to": "archive@example.com", "sender": "<>"},
	))
	c := in.session()
	c.envelope("bob@example.net", "carol@example.com")
	c.do("DATA", "354")
	c.send(letter + ".\r\n")
	c.want("250 2.0.0 Ok: queued as")
	in.await("the end", func() bool { return len(in.mail.copies()) == 7 && in.queued() == 0 })
	deliveries := in.of("sink")
	if len(deliveries) != 2 {
		t.Fatalf("%+v", in.mail.copies())
	}
	for sink, rcpts := range map[string]string{"archive": "bob@example.net carol@example.com", "net": "bob@example.net carol@example.com", "org": "", "bcc": "archive@example.com"} {
		var all []string
		for _, d := range in.of(sink) {
			all = append(all, d.recipient)
			if d.message != deliveries[0].message || (d.sender == "") != (sink == "bcc") {
				t.Errorf("%s has %+v", sink, d)
			}
		}
		if got := strings.Join(all, " "); got != rcpts {
			t.Errorf("%s has %q, want %q", sink, got, rcpts)
		}
	}
	in.heard("message_copied")
	in.logged("copy delivered", `"copy":"copy-fake"`)
}

// queued is how many messages are in the spool.
func (in *instance) queued() int {
	n, _, err := in.mail.spool.Size(context.Background())
	if err != nil {
		in.t.Fatal(err)
	}
	return n
}

// A copy that fails is told of to the operator alone: no bounce, no event of a failed message, and the recipients
// have it.
func TestCopyFails(t *testing.T) {
	in := newInstance(t)
	in.mail.sink = func(_ context.Context, d *queue.Delivery, _ *queue.Recipient) error {
		switch d.Copy {
		case "lost":
			return errPermanent()
		case "late":
			return errors.New("later")
		}
		return nil
	}
	in.load(in.withCopies(map[string]any{"name": "lost", "sink": in.fake("lost")}, map[string]any{"name": "late", "sink": in.fake("late"), "queue": map[string]any{"retry": []string{"1h"}, "expire": "30d"}}),
		withAppField("queue", map[string]any{"dead_letters": "7d"}))
	before, _ := sum(scrape(t), "caddy_msa_copies_failed_total", "copy", "lost")
	id := in.session().submit("bob@example.net")
	in.heard("copy_failed")
	in.heard("copy_deferred")
	in.arrived(1)
	in.logged(`"level":"error"`, "copy failed", `"copy":"lost"`, id)
	in.await("the states", func() bool {
		_, body := in.admin("GET", "/msa/queue/"+id, "")
		return strings.Contains(body, `"copies":[{"name":"lost","lane":"lost","state":"failed","error":`) && strings.Contains(body, `"state":"delivered"`) &&
			strings.Contains(body, `{"name":"late","lane":"late","error":"later"}`)
	})
	in.mail.change(func() {
		for _, e := range in.mail.events {
			if e == "message_failed" || e == "message_bounced" || e == "message_deferred" {
				t.Errorf("event %s", e)
			}
		}
	})
	if after, _ := sum(scrape(t), "caddy_msa_copies_failed_total", "copy", "lost"); after != before+1 {
		t.Errorf("%v copies failed, and %v before", after, before)
	}
	for action, why := range map[string]string{"bounce": "only copies of it are left", "reroute": "only copies of it are left"} {
		if _, body := in.admin("POST", "/msa/queue-actions/"+action, `{"ids": ["`+id+`"], "server": "main"}`); !strings.Contains(body, why) {
			t.Errorf("%s: %s", action, body)
		}
	}
	in.mail.change(func() { in.mail.sink = nil })
	if _, body := in.admin("POST", "/msa/queue-actions/retry", `{"ids": ["`+id+`"]}`); !strings.Contains(body, `"done":["`+id) {
		t.Error(body)
	}
	in.await("the copies", func() bool { return len(in.of("lost")) == 1 && len(in.of("late")) == 1 && in.queued() == 0 })
	if len(in.of("sink")) != 1 {
		t.Error("it was delivered again")
	}
}

// What a policy holds is neither delivered nor copied; released, it is both. Deleted, it is neither.
func TestCopyHeld(t *testing.T) {
	in := newInstance(t)
	in.mail.policy = func(at string, s *caddymsa.Submission, _ *caddymsa.Message) error {
		if at == "message" {
			s.Held = "to be looked at"
		}
		return nil
	}
	in.load(in.withCopies(map[string]any{"sink": in.fake("archive")}), with("policies", []any{map[string]any{"policy": map[string]any{"module": "fake", "world": in.mail.id}}}))
	c := in.session()
	one, two := c.submit("bob@example.net"), c.submit("bob@example.net")
	if _, body := in.admin("POST", "/msa/queue-actions/delete", `{"ids": ["`+two+`"]}`); !strings.Contains(body, `"done":["`+two) {
		t.Error(body)
	}
	if n := len(in.mail.copies()); n != 0 {
		t.Errorf("%d went while they were held", n)
	}
	if _, body := in.admin("POST", "/msa/queue-actions/release", `{"ids": ["`+one+`"]}`); !strings.Contains(body, `"done":["`+one) {
		t.Error(body)
	}
	in.await("both", func() bool { return len(in.of("sink")) == 1 && len(in.of("archive")) == 1 && in.queued() == 0 })
}

// A notification of this server's own is copied where the copy says so.
func TestCopyNotifications(t *testing.T) {
	in := newInstance(t)
	in.mail.sink = func(_ context.Context, d *queue.Delivery, _ *queue.Recipient) error {
		if d.Copy == "" && !d.Entry.Bounce {
			return errPermanent()
		}
		return nil
	}
	in.load(in.withCopies(map[string]any{"name": "some", "sink": in.fake("some")}, map[string]any{"name": "all", "sink": in.fake("all"), "notifications": true}))
	in.session().submit("bob@example.net")
	in.await("the notification", func() bool { return len(in.of("sink")) == 1 && len(in.of("all")) == 2 && in.queued() == 0 })
	if all := in.of("some"); len(all) != 1 || all[0].recipient != "bob@example.net" {
		t.Errorf("%+v", all)
	}
}

// A copy follows its name through reloads, and one that no configuration has is kept and said loudly.
func TestCopyRenamed(t *testing.T) {
	in := newInstance(t)
	in.mail.sink = func(_ context.Context, d *queue.Delivery, _ *queue.Recipient) error {
		if d.Copy != "" {
			return errors.New("later")
		}
		return nil
	}
	quick := withAppField("queue", map[string]any{"retry": []string{"20ms"}})
	in.load(quick, in.withCopies(map[string]any{"name": "archive", "sink": in.fake("old")}))
	id := in.session().submit("bob@example.net")
	in.heard("copy_deferred")
	in.load(quick)
	in.logged(`"level":"error"`, "copy deferred", "the configuration has no copy archive", id)
	in.mail.change(func() { in.mail.sink = nil })
	in.load(quick, in.withCopies(map[string]any{"name": "archive", "sink": in.fake("new")}))
	in.await("the copy", func() bool { return len(in.of("new")) == 1 && in.queued() == 0 })
	if len(in.of("old")) != 0 || len(in.of("sink")) != 1 {
		t.Errorf("%+v", in.mail.copies())
	}
}

func TestCopyRefused(t *testing.T) {
	in := newInstance(t)
	copyOf := func(set map[string]any) map[string]any {
		c := map[string]any{"sink": in.fake("archive")}
		for name, value := range set {
			c[name] = value
		}
		return c
	}
	for _, tt := range []struct {
		edit func(server, app map[string]any)
		want string
	}{
		{in.withCopies(map[string]any{}), "the first copy of server main: a sink is required"},
		{in.withCopies(copyOf(map[string]any{"name": "a/b"})), `"a/b" is not a name`},
		{in.withCopies(copyOf(map[string]any{"to": "archive"})), `the first copy of server main: fake: to: "archive" is not an address`},
		{in.withCopies(copyOf(map[string]any{"to": "postmaster"})), `to: "postmaster" is not an address`},
		{in.withCopies(copyOf(map[string]any{"sender": "a@b@c"})), "sender: "},
		{in.withCopies(copyOf(map[string]any{"queue": map[string]any{"warn": "4h"}})), "queue: warn: nobody is told of a copy that is late"},
		{in.withCopies(copyOf(map[string]any{"queue": map[string]any{"destinations": []any{map[string]any{"domains": []string{"a.example"}}}}})), "a copy has one schedule for all"},
		{in.withCopies(copyOf(map[string]any{"queue": map[string]any{"expire": -1}})), "queue: expire: "},
		{in.withCopies(copyOf(nil), copyOf(nil)), "two copies have the name copy-fake"},
		{in.withCopies(copyOf(map[string]any{"name": "fake"})), "a copy and a route have the name fake"},
		{in.withCopies(copyOf(map[string]any{"match": []any{map[string]any{"content": "x"}}})), "matcher content needs the message's content"},
		{func(server, _ map[string]any) {
			server["routes"] = []any{map[string]any{"sink": in.fake("sink"), "unqueued": map[string]any{}}}
			server["copies"] = []any{copyOf(nil)}
		}, "the first route of server main: unqueued: its messages are never in the spool, from which copies are made"},
	} {
		in.refuses(tt.edit, tt.want)
	}
}

// oddMatcher cannot tell.
type oddMatcher func() (bool, error)

func (oddMatcher) Moment() caddymsa.Moment                              { return caddymsa.MomentRecipient }
func (m oddMatcher) Match(*queue.Entry, *queue.Recipient) (bool, error) { return m() }

// Where it cannot be told whether a copy is to be made it is made, and the operator hears of it.
func TestCopyOfWhoKnows(t *testing.T) {
	e := &queue.Entry{ID: "Q1", Recipients: []queue.Recipient{{Address: "bob@example.net"}}}
	for name, tt := range map[string]struct {
		match oddMatcher
		takes bool
		lines int
	}{
		"no":    {func() (bool, error) { return false, nil }, false, 0},
		"yes":   {func() (bool, error) { return true, nil }, true, 0},
		"error": {func() (bool, error) { return false, errors.New("no database") }, true, 1},
		"panic": {func() (bool, error) { panic("broken") }, true, 1},
	} {
		core, logs := zapobserver.New(zap.ErrorLevel)
		c := &CopyConfig{route: RouteConfig{name: "archive", matchers: matcherSets{{tt.match}}}}
		if got := c.takes(e, zap.New(core)); got != tt.takes || logs.Len() != tt.lines {
			t.Errorf("%s: %v, %v", name, got, logs.All())
		}
	}
}
