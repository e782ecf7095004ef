package queue_test

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/installed"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// Recipients that were refused alike, each by its address, are stored and told of together, and have their own
// replies in the end.
func TestRepliesWithAddresses(t *testing.T) {
	recipients := installed.Rounds(1000, 300)
	s := newSink(func(_ context.Context, d *queue.Delivery) error {
		for _, r := range d.Recipients {
			d.Report(r, reply(450, smtp.EnhancedCode{4, 2, 1}, "<"+r.Address+">: mailbox is busy"))
		}
		return nil
	})
	bounces := newSink(nil)
	run(t, bouncesTo(bounces, s), func(r *rig) {
		r.host.g.schedule.Expire = 10 * time.Hour
		var to []string
		for i := range recipients {
			to = append(to, fmt.Sprintf("bob%d@example.net", i))
		}
		r.submit("Q1", nil, to...)
		r.Start()
		r.after(9 * time.Hour)
		if lines, attempts := len(r.logged("delivery deferred")), len(s.all()); lines != attempts {
			t.Errorf("%d lines for %d attempts", lines, attempts)
		}
		m := r.mustHave("Q1")
		b, err := json.Marshal(&m.Jobs[0])
		if err != nil || len(b) > 20*recipients+1000 {
			t.Errorf("a job of %d octets, %v", len(b), err)
		}
		again, err := queue.DecodeJob(b, m.Entry)
		if err != nil || !reflect.DeepEqual(again.Recipients, m.Jobs[0].Recipients) {
			t.Errorf("read again, %v:\n%+v\n%+v", err, again.Recipients[:2], m.Jobs[0].Recipients[:2])
		}
		if want := "450 4.2.1 <bob7@example.net>: mailbox is busy"; again.Recipients[7].Error != want {
			t.Errorf("%q", again.Recipients[7].Error)
		}
		if h := m.History; len(h) != 20 || h[0].Text != "450 4.2.1 <*>: mailbox is busy" || len(h[0].To) != recipients {
			t.Errorf("%d events, the first %+v", len(h), h[0])
		}
		r.after(2 * time.Hour)
		if text := bounces.last().message; strings.Count(text, "Final-Recipient:") != recipients || strings.Count(text, "Diagnostic-Code: smtp; 450 4.2.1 <bob299@example.net>: mailbox is busy") != 1 {
			t.Errorf("%d bounces:\n%.2000s", len(bounces.all()), text)
		}
	})
}

// However differently recipients are put off, an attempt has a few lines.
func TestRepliesWithNumbers(t *testing.T) {
	n := 0
	s := newSink(func(_ context.Context, d *queue.Delivery) error {
		for _, r := range d.Recipients {
			n++
			d.Report(r, reply(450, smtp.EnhancedCode{4, 2, 1}, fmt.Sprintf("ticket %d", n)))
		}
		return nil
	})
	run(t, to(s), func(r *rig) {
		var to []string
		for i := range 1000 {
			to = append(to, fmt.Sprintf("bob%d@example.net", i))
		}
		r.submit("Q1", nil, to...)
		r.Start()
		r.after(time.Second)
		if lines := len(r.logged("delivery deferred")); lines != 10 {
			t.Errorf("%d lines", lines)
		}
		if m := r.mustHave("Q1"); m.Recipients[999].Error != "450 4.2.1 ticket 1000" || len(m.History) != 10 {
			t.Errorf("%d events, the last recipient %+v", len(m.History), m.Recipients[999])
		}
	})
}
