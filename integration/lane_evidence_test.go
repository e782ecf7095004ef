package integration

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa/nexthop/hoptest"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// lanes are the server's, by name.
func (s *server) lanes() map[string]queue.Lane {
	s.t.Helper()
	_, body := s.adminRequest(http.MethodGet, "/msa/lanes", "")
	var answer struct{ Lanes []queue.Lane }
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		s.t.Fatal(err)
	}
	all := make(map[string]queue.Lane)
	for _, l := range answer.Lanes {
		all[l.Name] = l
	}
	return all
}

// A lane is down by what is evidence about it, and not by what concerns one message or sender.
func TestEvidence(t *testing.T) {
	t.Parallel()
	one, three, two := []string{"alice"}, []string{"alice", "alice", "alice"}, []string{"alice", "bob"}
	const off = "tls off"
	drop := func(h *hoptest.Hop) { h.TLS = nil }
	says := func(pairs ...string) func(*hoptest.Hop) {
		return func(h *hoptest.Hop) {
			h.TLS = nil
			hoptest.On(pairs...)(h)
		}
	}
	refusesTLS := func(h *hoptest.Hop) { hoptest.On("STARTTLS", "454 4.7.0 no")(h) }
	service := func(status int) string {
		web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if status == 0 {
				panic(http.ErrAbortHandler)
			}
			w.WriteHeader(status)
		}))
		t.Cleanup(web.Close)
		return "webhook " + web.URL
	}
	mutes := freeAddress(t)
	mute(t, mutes)
	cases := []struct {
		name    string
		sink    string // or
		hop     func(*hoptest.Hop)
		options string
		users   []string
		down    bool
	}{
		{name: "no connection", sink: "relay " + freeAddress(t) + " {\n" + off + "\n}", users: one, down: true},
		{name: "no greeting", sink: "relay " + mutes + " {\n" + off + "\ntimeouts {\ngreeting 300ms\n}\n}", users: one, down: true},
		{name: "lost before the greeting", hop: says("connect", "close"), options: off, users: one, down: true},
		{name: "a greeting that refuses", hop: says("connect", "554 5.3.2 go away"), options: off, users: one, down: true},
		{name: "a greeting that is busy", hop: says("connect", "421 4.3.2 busy"), options: off, users: one, down: true},
		{name: "EHLO refused", hop: says("EHLO", "421 4.3.2 busy"), options: off, users: one, down: true},
		{name: "STARTTLS refused", hop: refusesTLS, users: one, down: true},
		{name: "STARTTLS not offered", hop: drop, users: one, down: true},
		{name: "certificate unknown", users: one, down: true},
		{name: "log-in refused", hop: func(h *hoptest.Hop) {
			h.TLS, h.Extensions = nil, append([]string{"AUTH PLAIN"}, hoptest.Usual...)
			hoptest.On("AUTH", "535 5.7.8 no")(h)
		}, options: off + "\nauth u s3cret", users: one, down: true},
		{name: "no log-in wanted", hop: drop, options: off + "\nauth u s3cret", users: one, down: true},
		{name: "log-in wanted at MAIL", hop: says("MAIL", "530 5.7.0 log in"), options: off, users: one, down: true},
		{name: "lost at MAIL for two users", hop: says("MAIL", "close"), options: off, users: two, down: true},
		{name: "421 at RCPT for two users", hop: says("RCPT", "421 4.3.2 [4711] busy"), options: off, users: two, down: true},
		{name: "lost in mid-message for two users", hop: says(".", "close"), options: off, users: two, down: true},
		{name: "webhook that nobody serves", sink: "webhook http://" + freeAddress(t), users: one, down: true},
		{name: "webhook out of service", sink: service(503), users: one, down: true},

		{name: "421 at MAIL", hop: says("MAIL", "421 4.3.2 busy"), options: off, users: three},
		{name: "421 at RCPT", hop: says("RCPT", "421 4.3.2 busy"), options: off, users: three},
		{name: "421 at DATA", hop: says("DATA", "421 4.3.2 busy"), options: off, users: three},
		{name: "421 at the end of data", hop: says(".", "421 4.3.2 busy"), options: off, users: three},
		{name: "lost at MAIL", hop: says("MAIL", "close"), options: off, users: three},
		{name: "lost at RCPT", hop: says("RCPT", "close"), options: off, users: three},
		{name: "lost at DATA", hop: says("DATA", "close"), options: off, users: three},
		{name: "lost at the end of data", hop: says(".", "close"), options: off, users: three},
		{name: "one user's 421, another's loss", hop: says("MAIL FROM:<alice", "421 4.3.2 busy", "MAIL FROM:<bob", "close"), options: off, users: two},
		{name: "senders refused for now", hop: says("MAIL", "451 4.7.1 greylisted"), options: off, users: two},
		{name: "recipients refused for now", hop: says("RCPT", "450 4.2.1 greylisted"), options: off, users: two},
		{name: "a message refused for now", hop: says(".", "451 4.3.0 try later"), options: off, users: two},
		{name: "a command that fails", sink: `pipe /bin/sh -c "exit 75"`, users: three},
		{name: "webhook: header too large", sink: service(431), users: three},
		{name: "webhook: an error of its own", sink: service(500), users: three},
		{name: "webhook: lost", sink: service(0), users: three},
	}
	var msa strings.Builder
	for i, c := range cases {
		sink := c.sink
		if sink == "" {
			sink = "relay " + hoptest.New(t, c.hop).Addr + " {\n" + c.options + "\n}"
		}
		// In the place of a block's end, or as one of its own.
		if rest, ok := strings.CutSuffix(sink, "}"); ok {
			sink = rest + fmt.Sprintf("name case%d\n}", i)
		} else {
			sink += fmt.Sprintf(" {\nname case%d\n}", i)
		}
		fmt.Fprintf(&msa, "@case%d recipient_domain case%d.test\ndeliver @case%d %s\n", i, i, i, sink)
	}
	s := start(t, layout{users: "alice@example.org:{PLAIN}secret\nbob@example.org:{PLAIN}secret\n", msa: msa.String() + "queue {\nretry 1h\nprobe 1h\n}"})
	trust := s.tlsConfig()
	sessions := make(map[string]*talker)
	for _, user := range two {
		c, err := s.as(trust, user+"@example.org")
		if err != nil {
			t.Fatal(err)
		}
		defer c.close()
		sessions[user] = c
	}
	var ids [][]string
	for i, c := range cases {
		var of []string
		for _, user := range c.users {
			id, err := sessions[user].submit(user+"@example.org", fmt.Sprintf("carol@case%d.test", i), strings.Replace(letter(c.name), "alice", user, 1))
			if err != nil {
				t.Fatal(err)
			}
			of = append(of, id)
		}
		ids = append(ids, of)
	}
	for i := range cases {
		for _, id := range ids[i] {
			s.logged(id, "delivery deferred")
		}
	}
	lanes := s.lanes()
	for i, c := range cases {
		found := false
		for name, l := range lanes {
			if route, _, _ := strings.Cut(name, "/"); route == fmt.Sprintf("case%d", i) {
				found = true
				if (l.State == queue.LaneDown) != c.down {
					t.Errorf("%s: the lane is %s: %s", c.name, l.State, l.Cause)
				}
			}
		}
		if !found {
			t.Errorf("%s: there is no lane", c.name)
		}
	}
}
