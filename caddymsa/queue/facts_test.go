package queue_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue/queuetest"
)

// facts are the journal's that a query finds, in the order in which they happened.
func facts(t testing.TB, j journal.Reader, q journal.Query) (all []*journal.Fact) {
	t.Helper()
	if err := j.Facts(context.Background(), &q, func(f *journal.Fact) bool {
		all = append(all, f)
		return true
	}); err != nil {
		t.Fatal(err)
	}
	slices.Reverse(all)
	return all
}

// told is what the journal says of a message.
func (r *rig) told(id string) string {
	r.Helper()
	var all []string
	for _, f := range facts(r, r.spool, journal.Query{ID: id}) {
		if f.ID == id {
			all = append(all, string(f.What)+"("+strings.Join(f.Recipients, " ")+")")
		}
	}
	return strings.Join(all, " ")
}

func (r *rig) wantTold(id, want string) {
	r.Helper()
	if got := r.told(id); got != want {
		r.Errorf("%s: the journal says\n%s\nwant\n%s", id, got, want)
	}
}

// only returns the facts of a message of one kind.
func (r *rig) only(id string, what journal.Kind) []*journal.Fact {
	r.Helper()
	return facts(r, r.spool, journal.Query{ID: id, What: []journal.Kind{what}})
}

// Each attempt is facts with all that is known of it, one for recipients that fared alike.
func TestFactsOfAttempts(t *testing.T) {
	answer := queue.Answer{Reply: "250 2.0.0 Ok: queued as 4XYZ", ID: "4XYZ", Host: "mx.example.net", Address: "192.0.2.1:25", TLS: "TLS 1.3"}
	s := newSink(func(_ context.Context, d *queue.Delivery) error {
		for _, r := range d.Recipients {
			switch {
			case strings.HasPrefix(r.Address, "late") && d.Attempt == 1:
				d.Report(r, reply(451, smtp.EnhancedCode{4, 2, 1}, "not yet"))
			case strings.HasPrefix(r.Address, "no"):
				r.RemoteMTA = "mx.example.net"
				d.Report(r, reply(550, smtp.EnhancedCode{5, 1, 1}, "<"+r.Address+">: no such user"))
			default:
				d.Answered(r, answer)
			}
		}
		return nil
	})
	bounces := newSink(nil)
	run(t, bouncesTo(bounces, s), func(r *rig) {
		r.submit("Q1", nil, "a@x.example", "late@x.example", "b@x.example", "no1@x.example", "no2@x.example")
		r.Start()
		r.after(time.Second)
		r.wantTold("Q1", "delivered(a@x.example b@x.example) deferred(late@x.example) failed(no1@x.example no2@x.example)")
		f := r.only("Q1", journal.Delivered)[0]
		if v := f.Visit; f.Count != 2 || f.Server != "main" || f.User != "alice" || f.Sender != "alice@example.org" || f.Text != "" || v == nil ||
			v.Answer != answer.Reply || v.HopID != "4XYZ" || v.Host != "mx.example.net" || v.Address != "192.0.2.1:25" || v.TLS != "TLS 1.3" || v.Attempt != 1 || v.Route != "test" || v.Lane != "test" {
			t.Errorf("%+v %+v", f, f.Visit)
		}
		f = r.only("Q1", journal.Deferred)[0]
		if v := f.Visit; f.Text != "451 4.2.1 not yet" || v.Code != 451 || v.Status != "4.2.1" || !v.Next.Equal(f.Time.Add(time.Minute)) || v.Attempt != 1 {
			t.Errorf("%+v %+v", f, f.Visit)
		}
		f = r.only("Q1", journal.Failed)[0]
		if f.Text != "550 5.1.1 <*>: no such user" || f.Code != 550 || f.Status != "5.1.1" || f.Host != "mx.example.net" || f.Count != 2 || f.By != "" {
			t.Errorf("%+v %+v", f, f.Visit)
		}
		r.after(5 * time.Minute)
		told := r.told("Q1")
		if want := " bounced(no1@x.example no2@x.example)"; strings.Count(told, want) != 1 {
			t.Error(told)
		}
		if want := " delivered(late@x.example)"; strings.Count(told, want) != 1 {
			t.Error(told)
		}
		if f := r.only("Q1", journal.Delivered)[1]; f.Attempt != 2 {
			t.Errorf("%+v", f.Visit)
		}
		// The notification is a message like others.
		id := r.only("Q1", journal.Bounced)[0].Notification
		r.wantTold(id, "accepted(alice@example.org) delivered(alice@example.org)")
		if f := r.only(id, journal.Accepted)[0]; !f.Bounce || f.Sender != "" || f.User != "" || f.Size == 0 {
			t.Errorf("%+v %+v", f, f.Submission)
		}
		r.finals("Q1")
	})
}

// finals checks that each recipient of a message has exactly one end.
func (r *rig) finals(id string) {
	r.Helper()
	ends := make(map[string]int)
	for _, f := range facts(r, r.spool, journal.Query{ID: id}) {
		if f.ID == id && f.What.Final() {
			for _, a := range f.Recipients {
				ends[a]++
			}
		}
	}
	for a, n := range ends {
		if n != 1 {
			r.Errorf("%s: %d ends of %s: %s", id, n, a, r.told(id))
		}
	}
}

// A message whose time is over has expired, without another visit too; nobody is told where it asked for that.
func TestFactsOfTheEnd(t *testing.T) {
	down := newSink(func(context.Context, *queue.Delivery) error {
		return queue.Unreachable(errors.New("connection refused"))
	})
	run(t, to(down), func(r *rig) {
		r.host.g.schedule.Expire = 10 * time.Minute
		r.submit("Q1", func(e *queue.Entry) { e.Recipients[0].Notify = []string{"NEVER"} }, "a@x.example")
		r.Start()
		r.after(20 * time.Minute)
		r.mustNotHave("Q1")
		told := r.told("Q1")
		if !strings.HasSuffix(told, " expired(a@x.example) untold(a@x.example)") || strings.Count(told, "expired") != 1 {
			t.Error(told)
		}
		if f := r.only("Q1", journal.Untold)[0]; f.Text != "the sender asked not to be told" {
			t.Errorf("%+v", f)
		}
		if f := r.only("Q1", journal.Expired)[0]; f.Visit == nil || f.Status != "5.4.7" || !f.Next.IsZero() {
			t.Errorf("%+v %+v", f, f.Visit)
		}
		r.finals("Q1")
	})
}

// What an operator gives up has failed by the operator; what is deleted under way is delivered, or nothing more is said.
func TestFactsOfOperators(t *testing.T) {
	var let chan error
	s := newSink(func(_ context.Context, d *queue.Delivery) error {
		if d.Entry.ID == "Q1" {
			return errors.New("not now")
		}
		if d.Entry.Bounce {
			return nil
		}
		return <-let
	})
	run(t, to(s), func(r *rig) {
		let = make(chan error) // in the bubble
		r.submit("Q1", nil, "a@x.example")
		r.Start()
		r.after(time.Second)
		if _, err := r.spool.Change(t.Context(), "Q1", func(m *queue.EntryView) error {
			m.Status.GivenUp, m.Status.GivenUpBy, m.Status.GivenUpAt = "spam", "root", time.Now()
			m.Jobs[0].Due, m.Jobs[0].Deadline = time.Now(), time.Now()
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		r.after(time.Second)
		if f := r.only("Q1", journal.Failed); len(f) != 1 || f[0].By != "root" || f[0].Text != "spam" || f[0].Attempt != 0 {
			t.Errorf("%+v", f)
		}
		for i, err := range []error{nil, errors.New("not now"), reply(550, smtp.EnhancedCode{5, 0, 0}, "never")} {
			id := fmt.Sprint("D", i)
			r.submit(id, nil, "a@x.example")
			r.after(time.Second)
			if n, err := r.spool.Delete(t.Context(), id, journal.Fact{What: journal.Deleted, ID: id}); n != 1 || err != nil {
				t.Fatal(n, err)
			}
			let <- err
			r.after(time.Second)
		}
		r.wantTold("D0", "deleted() delivered(a@x.example)")
		r.wantTold("D1", "deleted()")
		r.wantTold("D2", "deleted()")
	})
}

// A dead letter that is forgotten brings no fact; one that is tried again does.
func TestFactsOfDeadLetters(t *testing.T) {
	run(t, bouncesTo(newSink(nil), newSink(func(context.Context, *queue.Delivery) error {
		return reply(550, smtp.EnhancedCode{5, 1, 1}, "no")
	})), func(r *rig) {
		r.host.g.schedule.Keep = time.Hour
		r.submit("Q1", nil, "a@x.example")
		r.Start()
		r.after(10 * time.Minute)
		r.mustHave("Q1")
		const want = "failed(a@x.example) bounced(a@x.example)"
		r.wantTold("Q1", want)
		r.after(2 * time.Hour)
		r.mustNotHave("Q1")
		r.wantTold("Q1", want)
	})
}

// A bounce that no route takes is held, which the journal has too.
func TestFactsOfHolds(t *testing.T) {
	run(t, func(e *queue.Entry, _ *queue.Recipient) (queue.Sink, string, error) {
		if e.Bounce {
			return nil, "", queue.ErrNoRoute
		}
		return newSink(func(context.Context, *queue.Delivery) error { return reply(550, smtp.EnhancedCode{5, 1, 1}, "no") }), "test", nil
	}, func(r *rig) {
		r.submit("Q1", nil, "a@x.example")
		r.Start()
		r.after(10 * time.Minute)
		id := r.only("Q1", journal.Bounced)[0].Notification
		r.wantTold(id, "accepted(alice@example.org) deferred(alice@example.org) held()")
		if f := r.only(id, journal.Held)[0]; !strings.Contains(f.Text, "no route takes this bounce") {
			t.Errorf("%+v", f)
		}
		if f := r.only(id, journal.Deferred)[0]; !f.Next.IsZero() {
			t.Errorf("%+v", f.Visit)
		}
	})
}

// A deferral names ten, an end all; whether recipients have replies of their own or not.
func TestFactsAreLinear(t *testing.T) {
	const n = 3000
	s := newSink(func(_ context.Context, d *queue.Delivery) error {
		for i, r := range d.Recipients {
			if d.Attempt == 1 {
				d.Report(r, reply(450, smtp.EnhancedCode{4, 2, 1}, fmt.Sprintf("busy %d", i)))
				continue
			}
			d.Answered(r, queue.Answer{Reply: "250 2.0.0 <" + r.Address + "> Saved"})
		}
		return nil
	})
	run(t, to(s), func(r *rig) {
		var all []string
		for i := range n {
			all = append(all, fmt.Sprintf("a%d@x.example", i))
		}
		r.submit("Q1", nil, all...)
		r.Start()
		r.after(5 * time.Minute)
		named, counted := 0, 0
		deferred := r.only("Q1", journal.Deferred)
		for _, f := range deferred {
			named, counted = named+len(f.Recipients), counted+f.Count
		}
		if len(deferred) != 10 || named > 10*journal.MaxRecipients || counted != n {
			t.Errorf("%d deferrals name %d of %d", len(deferred), named, counted)
		}
		if d := r.only("Q1", journal.Delivered); len(d) != 1 || len(d[0].Recipients) != n || d[0].Answer != "250 2.0.0 <*> Saved" {
			t.Errorf("%d facts, %d recipients", len(d), len(d[0].Recipients))
		}
		r.finals("Q1")
	})
}

// Where the journal is off nothing is written.
func TestNoFacts(t *testing.T) {
	run(t, bouncesTo(newSink(nil), newSink(func(context.Context, *queue.Delivery) error { return reply(550, smtp.EnhancedCode{5, 1, 1}, "no") })), func(r *rig) {
		r.host.g.settings.NoFacts = true
		r.submit("Q1", nil, "a@x.example")
		r.Start()
		r.after(10 * time.Minute)
		if all := facts(t, r.spool, journal.Query{}); len(all) != 0 {
			t.Errorf("%+v", all[0])
		}
	})
}

// Facts go along with a message that is moved, each once, however often the move is broken off, and stay where they were.
func TestFactsMove(t *testing.T) {
	from, to := queuetest.NewMemSpool(), queuetest.NewMemSpool()
	e := &queue.Entry{ID: "Q1", Server: "main", Accepted: time.Now(), Sender: "alice@example.org", Recipients: []queue.Recipient{{Address: "a@x.example"}}}
	d, err := from.Create(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Commit(t.Context(), &queue.Accept{Entry: e, Facts: []journal.Fact{e.AcceptedFact()}}); err != nil {
		t.Fatal(err)
	}
	if _, err := from.Change(t.Context(), "Q1", func(m *queue.EntryView) error {
		m.Facts = append(m.Facts, e.Fact(journal.Retried, time.Now()))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	told := func(s *queuetest.MemSpool) string {
		var all []string
		for _, f := range facts(t, s, journal.Query{ID: "Q1"}) {
			all = append(all, fmt.Sprintf("%s:%v", f.What, f.Carried))
		}
		return strings.Join(all, " ")
	}
	a, b := queue.Place{Name: "a", Spool: from}, queue.Place{Name: "b", Spool: to}
	move := func(x, y queue.Place) {
		t.Helper()
		if err := queue.Move(t.Context(), x, y, func(_ string, err error) {
			if err != nil {
				t.Error(err)
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	move(a, b)
	if got := told(from); got != "accepted:false retried:false moved:false" {
		t.Error(got)
	}
	if got := told(to); got != "accepted:true retried:true" {
		t.Error(got)
	}
	if f := facts(t, from, journal.Query{What: []journal.Kind{journal.Moved}})[0]; f.Text != "b" {
		t.Errorf("%+v", f)
	}
	move(b, a)
	if got := told(from); got != "accepted:false retried:false moved:false" {
		t.Error(got)
	}
}
