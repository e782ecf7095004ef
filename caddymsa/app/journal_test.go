package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// facts are those that a query finds, in the order in which they happened.
func (in *instance) facts(q journal.Query) (all []*journal.Fact) {
	in.t.Helper()
	if err := in.mail.spool.Facts(context.Background(), &q, func(f *journal.Fact) bool {
		all = append(all, f)
		return true
	}); err != nil {
		in.t.Fatal(err)
	}
	slices.Reverse(all)
	return all
}

// kinds waits until a message's facts are of these kinds.
func (in *instance) kinds(id, want string) []*journal.Fact {
	in.t.Helper()
	var all []*journal.Fact
	in.await("facts "+want, func() bool {
		all = in.facts(journal.Query{ID: id})
		var got []string
		for _, f := range all {
			got = append(got, string(f.What))
		}
		return strings.Join(got, " ") == want
	})
	return all
}

// told waits for an event with the moment, and returns its data.
func (in *instance) told(name string, has func(data map[string]any) bool) (data map[string]any) {
	in.t.Helper()
	in.await("event "+name, func() bool {
		in.mail.mu.Lock()
		defer in.mail.mu.Unlock()
		for _, e := range in.mail.told {
			if e.Name() == name && has(e.Data) {
				data = e.Data
				return true
			}
		}
		return false
	})
	return data
}

func (in *instance) fakePolicy() func(server, app map[string]any) {
	return with("policies", []any{map[string]any{"policy": map[string]any{"module": "fake", "world": in.mail.id}}})
}

// What is accepted is a fact in the same commit, with how it came in and who looked at it; so is a policy's hold.
func TestJournalOfAcceptance(t *testing.T) {
	in := newInstance(t)
	in.load(in.fakePolicy())
	c := in.session()
	id := c.submit("bob@example.net")
	all := in.kinds(id, "accepted delivered")
	a, d := all[0], all[1]
	if a.User != "alice@example.org" || a.Sender != "alice@example.org" || a.Server != "main" || !slices.Equal(a.Recipients, []string{"bob@example.net"}) || a.Count != 1 ||
		a.Size < int64(len(letter)) || a.Helo != "client.example" || a.ClientTLS == "" || a.Mechanism != "PLAIN" || a.Session == "" || a.Bounce {
		t.Errorf("%+v %+v", a, a.Submission)
	}
	if got := strings.Join(a.Policies, "; "); got != "sender_identity; fake" && got != "fake; sender_identity" {
		t.Errorf("policies %s", got)
	}
	if d.Route == "" || d.Attempt != 1 {
		t.Errorf("%+v", d.Visit)
	}

	in.mail.policy = func(moment string, s *caddymsa.Submission, m *caddymsa.Message) error {
		if moment == "message" {
			s.Held = "looks odd"
			m.Prepend("X-Odd: yes\r\n")
		}
		return nil
	}
	held := c.submit("bob@example.net")
	all = in.kinds(held, "accepted held")
	if got := all[0].Policies[len(all[0].Policies)-1]; got != "fake: changed the header, held" {
		t.Errorf("policies %q", all[0].Policies)
	}
	if f := all[1]; f.Text != "looks odd" || f.Policy != "fake" || f.By != "" {
		t.Errorf("%+v", f)
	}
	if data := in.told("message_held", func(d map[string]any) bool { return d["queue_id"] == held }); data["reason"] != "looks odd" || data["by"] != "" {
		t.Errorf("%v", data)
	}
}

// A commit that fails leaves no fact.
func TestJournalOfNothing(t *testing.T) {
	in := newInstance(t)
	in.mail.spool.Fault = func(op string, _ *queue.Entry) error {
		if op == "commit" {
			return errors.New("disk on fire")
		}
		return nil
	}
	in.load()
	c := in.session()
	c.envelope("bob@example.net")
	c.do("DATA", "354")
	c.send(letter + ".\r\n")
	c.want("451 4.3.0")
	for _, f := range in.facts(journal.Query{}) {
		if f.What != journal.Refused || f.ID != "" || f.Moment != "DATA" {
			t.Errorf("%+v", f)
		}
	}
}

// Users' refusals are in the journal, strangers' only in metric and events, which are as bounded as log lines.
func TestJournalOfRefusals(t *testing.T) {
	in := newInstance(t)
	in.load(in.fakePolicy())
	refuse := ""
	in.mail.policy = func(moment string, _ *caddymsa.Submission, _ *caddymsa.Message) error {
		if moment == refuse {
			return &caddymsa.Refusal{Code: 550, Status: smtp.EnhancedCode{5, 7, 1}, Text: "No " + moment}
		}
		return nil
	}
	for range 40 { // 720 times, from no network in particular
		stranger := in.connectTLS()
		stranger.do("EHLO client.example", "250")
		for range 18 {
			stranger.do("MAIL FROM:<alice@example.org>", "530")
		}
		_ = stranger.nc.Close()
	}
	in.told("message_refused", func(d map[string]any) bool { return d["moment"] == "MAIL" && d["user"] == "" })
	guesser := in.connectTLS()
	guesser.do("EHLO client.example", "250")
	guesser.do("AUTH PLAIN "+b64("\x00alice@example.org\x00wrong"), "535")
	if d := in.told("message_refused", func(d map[string]any) bool { return d["moment"] == "AUTH" }); d["user"] != "alice@example.org" || !strings.HasPrefix(fmt.Sprint(d["reply"]), "535") || d["queue_id"] != "" {
		t.Errorf("%v", d)
	}
	if all := in.facts(journal.Query{}); len(all) != 0 {
		t.Errorf("of strangers: %+v", all[0])
	}

	c := in.session()
	check := func(moment, reply string, want func(f *journal.Fact) bool) {
		t.Helper()
		f := in.facts(journal.Query{User: "ALICE@example.org"})
		last := f[len(f)-1]
		if last.What != journal.Refused || last.Moment != moment || !strings.HasPrefix(last.Reply, reply) || last.ID != "" || last.Server != "main" || last.Session == "" || !want(last) {
			t.Errorf("%+v %+v", last, last.Submission)
		}
		in.told("message_refused", func(d map[string]any) bool {
			return d["moment"] == moment && d["user"] == "alice@example.org" && strings.HasPrefix(fmt.Sprint(d["reply"]), reply)
		})
	}
	refuse = "sender"
	c.do("MAIL FROM:<alice@example.org>", "550 5.7.1")
	check("MAIL", "550 5.7.1 No sender", func(f *journal.Fact) bool {
		return f.Policy == "fake" && f.Sender == "alice@example.org" && slices.Contains(f.Policies, "fake: refused")
	})
	refuse = "recipient"
	c.do("MAIL FROM:<alice@example.org>", "250")
	c.do("RCPT TO:<bob@example.net>", "550 5.7.1")
	check("RCPT", "550 5.7.1 No recipient", func(f *journal.Fact) bool { return slices.Equal(f.Recipients, []string{"bob@example.net"}) })
	c.do("RCPT TO:<bob@@>", "501")
	check("RCPT", "501", func(f *journal.Fact) bool {
		return f.Text == "TO:<bob@@>" && f.Sender == "alice@example.org"
	})
	refuse = "message"
	c.do("RCPT TO:<bob@example.net>", "250")
	c.do("DATA", "354")
	c.send(letter + ".\r\n")
	c.want("550 5.7.1")
	check("DATA", "550 5.7.1 No message", func(f *journal.Fact) bool {
		return f.Size == int64(len(letter)) && slices.Equal(f.Recipients, []string{"bob@example.net"}) && f.Helo == "client.example"
	})
	in.mail.mu.Lock()
	defer in.mail.mu.Unlock()
	strangers := 0
	for _, e := range in.mail.told {
		if e.Data["moment"] == "MAIL" && e.Data["user"] == "" {
			strangers++
		}
	}
	if strangers == 0 || strangers > 600 {
		t.Errorf("%d events of 720 refusals of strangers", strangers)
	}
}

// What an operator does is in the journal with a name: the one that the client says is marked as that.
func TestJournalOfOperators(t *testing.T) {
	in := newInstance(t)
	in.mail.policy = func(moment string, s *caddymsa.Submission, _ *caddymsa.Message) error {
		if moment == "message" {
			s.Held = "wait"
		}
		return nil
	}
	in.load(in.fakePolicy())
	id := in.session().submit("bob@example.net")
	in.mail.change(func() { in.mail.sink = failing(errors.New("not yet")) })
	act := func(action, by, more string) {
		t.Helper()
		header := http.Header{}
		if by != "" {
			header.Set(adminapi.OperatorHeader, by)
		}
		if code, body := in.adminWith(header, "POST", "/msa/queue-actions/"+action, `{"ids":["`+id+`"]`+more+`}`); code != 200 || !strings.Contains(body, `"done":["`+id) {
			t.Fatalf("%s: %d %s", action, code, body)
		}
	}
	act("release", "root", `,"reason":"is fine"`)
	all := in.kinds(id, "accepted held released deferred")
	if f := all[2]; f.By != "root (as the client says)" || f.Text != "is fine" {
		t.Errorf("%+v", f)
	}
	act("hold", "", `,"reason":"is not"`)
	if f := in.kinds(id, "accepted held released deferred held")[4]; f.By != "admin" || f.Text != "is not" || f.Policy != "" {
		t.Errorf("%+v", f)
	}
	if d := in.told("message_held", func(d map[string]any) bool { return d["by"] == "admin" }); d["reason"] != "is not" || d["queue_id"] != id {
		t.Errorf("%v", d)
	}
	act("reroute", "ev\til "+strings.Repeat("x", 300), `,"server":"main","reason":"there"`)
	if f := in.kinds(id, "accepted held released deferred held rerouted")[5]; len(f.By) > 130 || !strings.HasPrefix(f.By, "ev il xxx") || !strings.HasSuffix(f.By, "xxx (as the client says)") || f.Text != "main there" {
		t.Errorf("%+v", f)
	}
	act("bounce", "root", `,"reason":"spam"`)
	all = in.kinds(id, "accepted held released deferred held rerouted failed bounced")
	if f := all[6]; f.By != "root (as the client says)" || f.Text != "spam" {
		t.Errorf("%+v", f)
	}
	id = in.session().submit("bob@example.net", "carol@example.net")
	act("delete", "root", `,"reason":"on request"`)
	if f := in.kinds(id, "accepted held deleted")[2]; f.By != "root (as the client says)" || f.Text != "on request" || len(f.Recipients) != 2 {
		t.Errorf("%+v", f)
	}
}

// A message that is delivered while the client waits has facts too, which have no commit to ride on.
func TestJournalOfUnqueued(t *testing.T) {
	in := newInstance(t)
	in.load(with("routes", []any{map[string]any{"sink": map[string]any{"module": "fake", "world": in.mail.id, "name": "now"}, "unqueued": map[string]any{"timeout": "30s"}}}))
	c := in.session()
	c.envelope("bob@example.net")
	c.do("DATA", "354")
	c.send(letter + ".\r\n")
	all := in.kinds(queueID(c.want("250 2.0.0 Ok: delivered as ")), "accepted delivered")
	if all[0].Size == 0 || all[1].Route == "" || all[1].Recipients[0] != "bob@example.net" {
		t.Errorf("%+v %+v", all[0], all[1])
	}
	in.mail.change(func() { in.mail.sink = failing(errPermanent()) })
	c.envelope("bob@example.net")
	c.do("DATA", "354")
	c.send(letter + ".\r\n")
	c.want("554 5.0.0")
	f := in.facts(journal.Query{What: []journal.Kind{journal.Refused}})
	if len(f) != 1 || f[0].Visit == nil || f[0].Route == "" || f[0].Moment != "DATA" {
		t.Errorf("%+v", f)
	}
}

// A reload switches the journal off and on, and sets its limits.
func TestJournalReload(t *testing.T) {
	in := newInstance(t)
	in.load(withAppField("journal", map[string]any{"off": true}))
	c := in.session()
	c.submit("bob@example.net")
	in.arrived(1)
	c.do("MAIL FROM:<mallory@example.com>", "550")
	in.load(withAppField("journal", map[string]any{"keep": "2d"}))
	if all := in.facts(journal.Query{}); len(all) != 0 {
		t.Errorf("%+v", all[0])
	}
	in.kinds(c.submit("bob@example.net"), "accepted delivered")
	in.load(withAppField("journal", map[string]any{"keep": "1ns"}))
	if all := in.facts(journal.Query{}); len(all) != 0 {
		t.Errorf("kept: %+v", all[0])
	}
	for want, config := range map[string]map[string]any{
		"journal: keep: must not be negative":                   {"keep": -1},
		"journal: max_size: 1000 octets is too little":          {"max_size": 1000},
		"journal: off does not go with keep or max_size: nothi": {"off": true, "keep": "1d"},
	} {
		in.refuses(withAppField("journal", config), want)
	}
}

// A spool that is no journal works without one, and the log says so.
func TestNoJournal(t *testing.T) {
	in := newInstance(t)
	plain := func(off bool) func(server, app map[string]any) {
		return func(_, app map[string]any) {
			app["spool"] = map[string]any{"module": "memory", "world": in.mail.id, "plain": true}
			app["journal"] = map[string]any{"off": off}
		}
	}
	in.load(plain(true))
	in.session().submit("bob@example.net")
	in.arrived(1)
	const line = "keeps no journal"
	if strings.Contains(in.log(), line) {
		t.Error("said where the journal is off")
	}
	in.load(plain(false))
	in.logged(line)
	in.session().submit("bob@example.net")
	in.arrived(2)
	if n := strings.Count(in.log(), line); n != 1 {
		t.Errorf("said %d times", n)
	}
}
