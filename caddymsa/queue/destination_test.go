package queue_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/installed"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// hops is a sink whose destinations are the recipients' domains.
type hops struct {
	*sink
	concurrency int
}

func (h hops) Destination(_ *queue.Entry, r *queue.Recipient) queue.Destination {
	_, domain, _ := strings.Cut(r.Address, "@")
	return queue.Destination{Name: domain, Concurrency: h.concurrency}
}

var refused = queue.Unreachable(errors.New("dial tcp 192.0.2.1:25: connection refused"))

// A destination that is down is probed, not hammered, and nobody else waits for it.
func TestDestinationDown(t *testing.T) {
	var down atomic.Bool
	down.Store(true)
	s := newSink(func(_ context.Context, d *queue.Delivery) error {
		if down.Load() && strings.HasSuffix(d.Recipients[0].Address, "@down.example") {
			return refused
		}
		return nil
	})
	h := &hops{sink: s}
	run(t, to(h), func(r *rig) {
		r.Start()
		for i := range 500 {
			r.submit(fmt.Sprintf("D%03d", i), nil, "bob@down.example")
		}
		for i := range 50 {
			r.submit(fmt.Sprintf("U%03d", i), nil, "bob@up.example")
		}
		r.after(time.Second)
		attempts := func(domain string) (n int) {
			for _, c := range s.all() {
				if strings.HasSuffix(c.rcpts, domain) {
					n++
				}
			}
			return n
		}
		if n := attempts("up.example"); n != 50 {
			t.Errorf("%d of 50 were delivered beside", n)
		}
		// Those that were under way at once could not know.
		if n := attempts("down.example"); n > 16 {
			t.Errorf("%d attempts at once at what is down", n)
		}
		before := attempts("down.example")
		r.after(time.Hour)
		if n := attempts("down.example") - before; n < 10 || n > 30 {
			t.Errorf("%d probes in an hour", n)
		}
		// What was only postponed has no attempt on record.
		tried := 0 // all are due at one instant: which of them are, nobody can tell
		for i := range 500 {
			if r.mustHave(fmt.Sprintf("D%03d", i)).Attempts != 0 {
				tried++
			}
		}
		if n := attempts("down.example"); tried > n {
			t.Errorf("%d messages have an attempt on record, and there were %d", tried, n)
		}
		if n := len(r.logged("delivery deferred")); n > 60 {
			t.Errorf("%d lines for %d attempts", n, attempts("down.example"))
		}
		down.Store(false)
		r.after(6 * time.Minute) // the next probe is at most 5 minutes away
		if n := attempts("down.example"); n < 500-20 {
			t.Errorf("only %d attempts after it came back", n)
		}
		r.after(time.Hour)
		for i := range 500 {
			r.mustNotHave(fmt.Sprintf("D%03d", i))
		}
	})
}

// What waits for a destination expires like anything else, and its sender is told.
func TestExpiresWhileDown(t *testing.T) {
	s, bounces := newSink(func(context.Context, *queue.Delivery) error { return refused }), newSink(nil)
	run(t, bouncesTo(bounces, s), func(r *rig) {
		r.host.g.schedule.Expire = time.Hour
		r.host.g.schedule.Warn = 20 * time.Minute
		r.Start()
		for i := range 20 {
			r.submit(fmt.Sprintf("Q%02d", i), nil, "bob@down.example")
		}
		r.after(30 * time.Minute)
		if n := len(bounces.all()); n != 20 {
			t.Errorf("%d senders were told of the delay", n)
		}
		r.after(time.Hour)
		if n := len(bounces.all()); n != 40 {
			t.Errorf("%d notifications", n)
		}
		for i := range 20 {
			r.mustNotHave(fmt.Sprintf("Q%02d", i))
		}
		if c := bounces.last(); !strings.Contains(c.message, "Status: 5.4.7") || strings.Contains(c.message, "192.0.2.1") {
			t.Errorf("bounce:\n%s", c.message)
		}
	})
}

// No more at once than a destination takes; the others wait, and what goes elsewhere
// does not wait for them.
func TestConcurrency(t *testing.T) {
	s := newSink(func(_ context.Context, d *queue.Delivery) error {
		if strings.HasSuffix(d.Recipients[0].Address, "@slow.example") {
			time.Sleep(time.Minute)
		}
		return nil
	})
	h := &hops{sink: s, concurrency: 3}
	run(t, to(h), func(r *rig) {
		r.Start()
		n := installed.Rounds(600, 150) // in one lane
		for i := range n {
			r.submit(fmt.Sprintf("S%03d", i), nil, "bob@slow.example")
		}
		r.submit("Q1", nil, "bob@quick.example")
		r.after(time.Second)
		r.mustNotHave("Q1")
		if now, _ := s.atOnce(); now != 2 { // a lane begins with two
			t.Errorf("%d under way at first", now)
		}
		r.after(2 * time.Minute)
		if now, most := s.atOnce(); now != 3 || most > 3 {
			t.Errorf("%d under way, at most %d", now, most)
		}
		r.after(time.Duration(n/3+1) * time.Minute)
		if got := len(s.all()); got < n {
			t.Errorf("%d of %d attempts: a turn was lost", got, n)
		}
		r.after(time.Hour)
		for i := range n {
			r.mustNotHave(fmt.Sprintf("S%03d", i))
		}
	})
}

// Recipients of a destination that is down wait, the others of the entry have theirs.
func TestPartlyDown(t *testing.T) {
	s := newSink(func(_ context.Context, d *queue.Delivery) error {
		if strings.HasSuffix(d.Recipients[0].Address, "@down.example") {
			return refused
		}
		return nil
	})
	run(t, to(&hops{sink: s}), func(r *rig) {
		r.Start()
		r.submit("Q0", nil, "x@down.example")
		r.after(time.Second)
		r.submit("Q1", nil, "bob@down.example", "carol@up.example")
		r.after(time.Second)
		e := r.mustHave("Q1")
		if e.Recipients[0].State != queue.Pending || e.Jobs[0].Attempts != 0 || e.Recipients[1].State != queue.Delivered {
			t.Errorf("entry %+v", e)
		}
		r.mustLog(zap.InfoLevel, "delivery delivered", 1)
	})
}

// The sender hears of a delay when it is due, however long the waits between attempts are.
func TestWarnedInTime(t *testing.T) {
	s := newSink(func(context.Context, *queue.Delivery) error { return errors.New("not now") })
	bounces := newSink(nil)
	run(t, bouncesTo(bounces, s), func(r *rig) {
		r.host.g.schedule.Retry = []time.Duration{time.Minute, 30 * time.Hour}
		r.host.g.schedule.Warn = 4 * time.Hour
		r.Start()
		r.submit("Q1", nil, "bob@example.org")
		r.after(4*time.Hour - time.Minute)
		if n := len(bounces.all()); n != 0 {
			t.Errorf("%d notifications too early", n)
		}
		r.after(4 * time.Minute)
		if n := len(bounces.all()); n != 1 {
			t.Errorf("%d notifications at the time of the warning", n)
		}
	})
}

// The operator's word ends the wait for a probe.
func TestProbeNow(t *testing.T) {
	var down atomic.Bool
	down.Store(true)
	s := newSink(func(context.Context, *queue.Delivery) error {
		if down.Load() {
			return refused
		}
		return nil
	})
	run(t, to(&hops{sink: s}), func(r *rig) {
		r.Start()
		r.submit("Q1", nil, "bob@down.example")
		r.after(time.Hour) // the next probe is minutes away
		down.Store(false)
		before := len(s.all())
		r.ProbeNow()
		r.after(time.Second)
		if n := len(s.all()) - before; n != 1 {
			t.Errorf("%d attempts", n)
		}
		r.mustNotHave("Q1")
	})
}
