package app

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/notify"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// moves has metrics move, and remembers which did.
type moves struct {
	*instance
	moved map[string]bool
}

// by awaits that the number rises by n while cause happens.
func (m *moves) by(n float64, cause func(), name string, labels ...string) {
	m.t.Helper()
	before, _ := sum(scrape(m.t), name, labels...)
	cause()
	m.becomes(name, func(v float64) bool { return v == before+n }, labels...)
}

// becomes awaits a number.
func (m *moves) becomes(name string, is func(float64) bool, labels ...string) {
	m.t.Helper()
	m.moved[name] = true
	v, found := 0.0, false
	defer func() {
		if m.t.Failed() {
			m.t.Logf("%s %q is %v", name, labels, v)
		}
	}()
	m.await(name+" as it should be", func() bool {
		v, found = sum(scrape(m.t), name, labels...)
		return found && is(v)
	})
}

// quit ends all that are there, and awaits that their places are free: a moment after the sessions.
func (m *moves) quit(all ...*dialogue) {
	m.t.Helper()
	for _, c := range all {
		c.do("QUIT", "221")
	}
	m.await("free places", func() bool { return named("main").inCharge().gate.Connections() == 0 })
}

func is(want float64) func(float64) bool { return func(v float64) bool { return v == want } }
func above(min float64) func(float64) bool {
	return func(v float64) bool { return v > min }
}

// Every metric moves when it should, none names a user or an address, and docs/metrics.md has them all.
func TestMetrics(t *testing.T) {
	in := newInstance(t)
	m := &moves{in, make(map[string]bool)}
	in.mail.measures.engine.Up = true
	in.load(
		with("policies", []any{map[string]any{"policy": map[string]any{"module": "fake", "world": in.mail.id}}}),
		with("routes", []any{map[string]any{"name": "main", "sink": in.fake("main")}}),
		in.withCopies(map[string]any{"name": "archive", "sink": in.fake("archive"), "match": []any{map[string]any{"domain": []string{"copied.example"}}}}),
		with("notify", []any{map[string]any{"name": "hook", "notifier": map[string]any{"module": "fake", "world": in.mail.id}}}),
		with("limits", map[string]any{"connections": 2, "auth_failures": 100}),
		withAppField("spool", map[string]any{"module": "measured", "world": in.mail.id}),
		withAppField("queue", map[string]any{"retry": []string{"1h"}, "dead_letters": "1h"}),
	)
	m.testSessions()
	m.testAuth()
	m.testMessages()
	m.testDelivery()
	m.testNotify()
	m.testSpool()
	m.becomes("caddy_msa_certificate_expiry_seconds", above(60), "server", "main", "certificate", in.dir+"/cert.pem")
	m.becomes("caddy_msa_certificate_lifetime_seconds", above(100*3600), "server", "main")
	noAddress(t, scrape(t))
	m.testDraining()

	doc, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range describedMetrics() {
		if !m.moved[name] && !m.moved[name+"_count"] {
			t.Errorf("nothing here moves %s", name)
		}
		if !regexp.MustCompile("`" + name + "`").Match(doc) {
			t.Errorf("docs/metrics.md does not have %s", name)
		}
	}
}

func (m *moves) testSessions() {
	server := []string{"server", "main"}
	m.by(1, func() {
		c := m.connect()
		m.becomes("caddy_msa_sessions", is(1), "server", "main", "state", stateClear)
		m.by(1, func() { c.do("EHLO x", "250"); c.starttls(); c.do("EHLO x", "250") }, "caddy_msa_tls_handshakes_total", "server", "main", "version", "TLS 1.3", "result", "ok")
		m.becomes("caddy_msa_sessions", is(1), "server", "main", "state", stateTLS)
		c.do("AUTH PLAIN "+b64("\x00alice@example.org\x00secret"), "235 2.7.0")
		m.becomes("caddy_msa_sessions", is(1), "server", "main", "state", stateIdle)
		c.envelope("bob@example.net")
		m.becomes("caddy_msa_sessions", is(1), "server", "main", "state", stateTransaction)
		c.do("RSET", "250")
		m.becomes("caddy_msa_sessions", is(1), "server", "main", "state", stateIdle)
		m.by(1, func() { c.do("QUIT", "221") }, "caddy_msa_sessions_ended_total", "server", "main", "reason", "quit")
		m.becomes("caddy_msa_sessions", is(0), server...)
	}, "caddy_msa_connections_total", server...)

	m.by(1, func() {
		nc, err := net.Dial("unix", m.dir+"/tls")
		if err != nil {
			m.t.Fatal(err)
		}
		defer nc.Close()
		old := tls.Client(nc, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11})
		_ = old.SetDeadline(time.Now().Add(patience))
		if old.Handshake() == nil {
			m.t.Error("TLS 1.1 was agreed on")
		}
	}, "caddy_msa_tls_handshakes_total", "server", "main", "result", "failed", "version", "")
	m.quit()

	one, two := m.connect(), m.connect()
	m.by(1, func() {
		nc, err := net.Dial("unix", m.dir+"/starttls")
		if err != nil {
			m.t.Fatal(err)
		}
		m.t.Cleanup(func() { _ = nc.Close() })
	}, "caddy_msa_connections_refused_total", "server", "main", "limit", "connections")
	m.quit(one, two)
	m.becomes("caddy_msa_sessions", is(0), server...)
}

// Why a log-in was refused is told apart here, and the client hears the same.
func (m *moves) testAuth() {
	c := m.connectTLS()
	c.do("EHLO x", "250")
	plain := "AUTH PLAIN " + b64("\x00alice@example.org\x00wrong")
	for _, tt := range []struct {
		backend error
		reply   string
		result  string
	}{
		{caddymsa.ErrWrongPassword, "535 5.7.8 Authentication credentials invalid", "wrong"},
		{caddymsa.ErrUnknownUser, "535 5.7.8 Authentication credentials invalid", "unknown"},
		{caddymsa.ErrDisabled, "535 5.7.8 Authentication credentials invalid", "disabled"},
		{caddymsa.ErrNotFromThere, "535 5.7.8 Authentication credentials invalid", "address"},
		{caddymsa.ErrExpired, "535 5.7.8 Authentication credentials invalid", "expired"},
		{caddymsa.ErrNoCredential, "535 5.7.8 Authentication credentials invalid", "no_credential"},
		{caddymsa.ErrCredentials, "535 5.7.8 Authentication credentials invalid", "refused"},
		{caddymsa.ErrBusy, "454 4.7.0", "busy"},
		{errors.New("out of touch"), "454 4.7.0", "cannot_tell"},
	} {
		m.mail.change(func() { m.mail.backend = tt.backend })
		m.by(1, func() { c.do(plain, tt.reply) }, "caddy_msa_auth_total", "server", "main", "mechanism", "PLAIN", "result", tt.result)
	}
	m.by(1, func() { c.do(plain, "454 4.7.0") }, "caddy_msa_auth_backend_failures_total", "server", "main")
	m.mail.change(func() { m.mail.backend = nil })
	m.by(1, func() { c.do("AUTH PLAIN "+b64("no separators"), "501 5.5.2") }, "caddy_msa_auth_total", "mechanism", "PLAIN", "result", "malformed")
	m.by(1, func() {
		c.do("AUTH XOAUTH2 "+b64("user=alice@example.org\x01auth=Bearer wrong\x01\x01"), "334")
		c.do("", "535 5.7.8")
	}, "caddy_msa_auth_total", "mechanism", "XOAUTH2", "result", "wrong")
	m.by(1, func() { c.do("AUTH PLAIN "+b64("\x00alice@example.org\x00secret"), "235 2.7.0") }, "caddy_msa_auth_total", "mechanism", "PLAIN", "result", "ok")
	m.quit(c)
}

func (m *moves) testMessages() {
	c := m.session()
	m.by(1, func() { // and it is gone when others are counted
		m.by(1, func() { c.submit("carol@example.net") }, "caddy_msa_messages_total", "server", "main", "result", "accepted")
	}, "caddy_msa_delivery_seconds_count", "route", "main", "kind", "route")
	m.becomes("caddy_msa_accepted_octets_total", above(float64(len(letter))), "server", "main")
	refuse := func(moment string, err error) {
		m.mail.change(func() {
			m.mail.policy = func(at string, _ *caddymsa.Submission, _ *caddymsa.Message) error {
				if at == moment {
					return err
				}
				return nil
			}
		})
	}
	defer m.mail.change(func() { m.mail.policy = nil })
	refuse("sender", caddymsa.Refuse("not_now", "No"))
	m.by(1, func() { c.do("MAIL FROM:<alice@example.org>", "550") }, "caddy_msa_refusals_total",
		"server", "main", "moment", "MAIL", "client", "user", "policy", "fake", "rule", "not_now", "class", "5")
	refuse("recipient", &caddymsa.Refusal{Code: 450, Status: smtp.EnhancedCode{4, 7, 1}, Rule: "later", Text: "Later"})
	c.do("MAIL FROM:<alice@example.org>", "250")
	m.by(1, func() { c.do("RCPT TO:<carol@example.net>", "450") }, "caddy_msa_refusals_total", "moment", "RCPT", "rule", "later", "class", "4")
	refuse("message", caddymsa.Refuse("bad", "No"))
	c.do("RCPT TO:<carol@example.net>", "250")
	c.do("DATA", "354")
	m.by(1, func() { c.send(letter + ".\r\n"); c.want("550") }, "caddy_msa_messages_total", "result", "refused")
	m.by(1, func() { c.do("MAIL FROM:<>x", "501") }, "caddy_msa_refusals_total", "moment", "MAIL", "client", "user", "policy", "", "rule", "", "class", "5")
	// Rules that others think of are bounded.
	c.do("RSET", "250")
	for i := range maxRules + 10 {
		refuse("sender", caddymsa.Refuse("rule"+strconv.Itoa(i), "No"))
		c.do("MAIL FROM:<alice@example.org>", "550")
		if i%15 == 14 { // before there are too many bad commands
			m.quit(c)
			c = m.session()
		}
	}
	m.becomes("caddy_msa_refusals_total", above(0), "rule", "other")
	m.quit(c)
}

func (m *moves) testDelivery() {
	c := m.session()
	defer m.quit(c)
	delivered := []string{"caddy_msa_delivery_seconds_count", "route", "main", "kind", "route"} // the last that is counted
	m.by(1, func() {
		m.by(1, func() {
			m.by(1, func() { c.submit("carol@example.net") }, "caddy_msa_delivery_attempts_total", "route", "main", "kind", "route", "outcome", "delivered")
		}, "caddy_msa_delivery_attempt_seconds_count", "route", "main")
	}, delivered[0], delivered[1:]...)
	fail := func(err error, of string) {
		m.mail.change(func() {
			m.mail.sink = func(_ context.Context, d *queue.Delivery, _ *queue.Recipient) error {
				if d.Copy == of && !d.Entry.Bounce {
					return err
				}
				return nil
			}
		})
	}
	defer m.mail.change(func() { m.mail.sink = nil })
	fail(errPermanent(), "archive")
	m.by(1, func() {
		m.by(1, func() { c.submit("carol@copied.example") }, "caddy_msa_copies_failed_total", "copy", "archive")
	}, delivered[0], delivered[1:]...)
	fail(errPermanent(), "")
	m.by(1, func() {
		m.by(1, func() { c.submit("carol@example.net") }, "caddy_msa_notifications_total", "server", "main", "action", "failed")
	}, "caddy_msa_delivery_attempts_total", "route", "main", "kind", "bounce", "outcome", "delivered")
	m.by(1, func() {
		c.do("MAIL FROM:<>", "250")
		c.do("RCPT TO:<carol@example.net>", "250")
		c.do("DATA", "354")
		c.send(letter + ".\r\n")
		c.want("250")
	}, "caddy_msa_untold_recipients_total", "server", "main")
	fail(errors.New("later"), "")
	m.by(1, func() { m.deposit("OLD", "", time.Now().Add(-6*24*time.Hour), "main"); m.wake("OLD") }, "caddy_msa_expired_recipients_total", "route", "main", "kind", "route")
	m.becomes("caddy_msa_queue_messages", above(0), "state", "dead")
}

// wake has a message tried at once.
func (in *instance) wake(id string) {
	in.t.Helper()
	if status, body := in.admin("POST", "/msa/queue-actions/retry", `{"ids": ["`+id+`"]}`); status != 200 {
		in.t.Fatal(body)
	}
}

func (m *moves) testNotify() {
	c := m.session()
	m.becomes("caddy_msa_notify_events_total", above(0), "server", "main", "notifier", "hook", "result", "told")
	m.becomes("caddy_msa_notify_up", is(1), "server", "main", "notifier", "hook")
	m.mail.change(func() { m.mail.notify = &notify.UnreachableError{Cause: errors.New("no")} })
	c.submit("carol@example.net")
	m.becomes("caddy_msa_notify_up", is(0), "server", "main", "notifier", "hook")
	m.becomes("caddy_msa_notify_lag_seconds", above(0), "notifier", "hook")
	m.becomes("caddy_msa_notify_waiting", above(0), "notifier", "hook")
	m.becomes("caddy_msa_notify_events_total", above(0), "notifier", "hook", "result", "failed")
	m.becomes("caddy_msa_notify_aside", is(0), "notifier", "hook")
	m.mail.change(func() { m.mail.notify = nil })
	m.quit(c)
}

func (m *moves) testSpool() {
	m.mail.change(func() {
		m.mail.measures = measures{free: 1 << 30, reserve: 1 << 20, damaged: 3, waiting: 2, since: time.Now().Add(-time.Minute), dropped: 7,
			engine: queue.Engine{Up: true, Pools: []queue.Pool{{Name: "durable", Used: 1, Idle: 2, Opening: 3, Max: 16, Waits: 5, Waited: 2 * time.Second}}}}
	})
	hourAgo := time.Now().Add(-time.Hour)
	m.by(1, func() { m.deposit("HELD", "a policy", hourAgo, "main") }, "caddy_msa_queue_messages", "state", "held")
	m.becomes("caddy_msa_queue_oldest_seconds", is(0))
	m.by(1, func() { m.deposit("WAITS", "", hourAgo, "main") }, "caddy_msa_queue_messages", "state", "queued")
	m.becomes("caddy_msa_queue_oldest_seconds", above(3000))
	m.becomes("caddy_msa_queue_next_due_seconds", above(60))
	m.by(1, func() { m.deposit("ALSO", "", hourAgo, "main") }, "caddy_msa_spool_messages")
	m.by(4, func() { m.deposit("MORE", "", hourAgo, "main") }, "caddy_msa_spool_octets")
	m.becomes("caddy_msa_queue_waiting", is(3), "route", "main")
	m.becomes("caddy_msa_lane_jobs", is(3), "lane", "main", "state", "waiting")
	m.becomes("caddy_msa_lane_oldest_seconds", above(3000), "lane", "main")
	m.becomes("caddy_msa_lane_up", is(1), "lane", "main")
	if status, body := m.admin("POST", "/msa/lane-actions/pause", `{"lane": "main"}`); status != 200 {
		m.t.Fatal(body)
	}
	m.becomes("caddy_msa_lane_up", is(0), "lane", "main")
	m.becomes("caddy_msa_queue_lanes", is(1), "state", "paused")

	m.becomes("caddy_msa_spool_free_octets", is(1<<30))
	m.becomes("caddy_msa_spool_reserve_octets", is(1<<20))
	m.becomes("caddy_msa_spool_damaged_messages", is(3))
	m.becomes("caddy_msa_spool_engine_up", is(1))
	for state, n := range map[string]float64{"used": 1, "idle": 2, "opening": 3} {
		m.becomes("caddy_msa_spool_engine_connections", is(n), "pool", "durable", "state", state)
	}
	m.becomes("caddy_msa_spool_engine_connections_max", is(16), "pool", "durable")
	m.becomes("caddy_msa_spool_engine_waits_total", is(5), "pool", "durable")
	m.becomes("caddy_msa_spool_engine_wait_seconds_total", is(2), "pool", "durable")
	m.becomes("caddy_msa_journal_facts", above(0))
	m.becomes("caddy_msa_journal_octets", above(0))
	m.becomes("caddy_msa_journal_oldest_seconds", above(0))
	m.becomes("caddy_msa_journal_lag_seconds", above(59))
	m.becomes("caddy_msa_journal_waiting", is(2))
	m.becomes("caddy_msa_journal_dropped_total", is(7))

	m.becomes("caddy_msa_spool_up", is(1))
	m.mail.change(func() { m.mail.measures.engine.Up = false })
	m.mail.spool.Cut()
	m.becomes("caddy_msa_spool_up", is(0))
	m.becomes("caddy_msa_spool_engine_up", is(0))
	m.becomes("caddy_msa_spool_free_octets", is(1<<30)) // what is known all the same
	m.mail.spool.Heal()
	m.becomes("caddy_msa_spool_up", is(1))
}

// testDraining leaves the spool for another.
func (m *moves) testDraining() {
	m.load(withAppField("spool", map[string]any{"module": "memory", "world": m.mail.id, "disk": "new"}))
	m.becomes("caddy_msa_spool_draining_messages", above(0))
}

// What the client waits for is an attempt of a kind of its own.
func TestMetricsUnqueued(t *testing.T) {
	in := newInstance(t)
	m := &moves{in, make(map[string]bool)}
	in.load(with("routes", []any{map[string]any{"name": "direct", "sink": in.fake("direct"), "unqueued": map[string]any{}}}))
	c := in.session()
	m.by(1, func() {
		c.envelope("carol@example.net")
		c.do("DATA", "354")
		c.send(letter + ".\r\n")
		c.want("250 2.0.0 Ok: delivered as")
	}, "caddy_msa_delivery_seconds_count", "route", "direct", "kind", "unqueued")
}

// A lane has series of its own if it is down, or among those with the most that waits; none names an address.
func TestForemostLanes(t *testing.T) {
	all := []queue.Lane{{Name: "a", State: queue.LaneUp, Waiting: 5}, {Name: "", State: queue.LaneUp, Waiting: 99}, {Name: "b", State: queue.LaneUp, Waiting: 9},
		{Name: "c", State: queue.LaneDown}, {Name: "d", State: queue.LaneUp, Waiting: 5}, {Name: "e", State: queue.LanePaused, Waiting: 1}}
	for n, want := range map[int][]string{0: {}, 1: {"e"}, 3: {"e", "c", "b"}, 4: {"e", "c", "b", "a"}, 9: {"a", "b", "c", "d", "e"}} {
		got := []string{}
		for _, l := range foremost(slices.Clone(all), n) {
			got = append(got, l.Name)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}
