package msatest

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/dsn"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue/queuetest"
)

// testMoved has messages in all states taken out of the spool and back: all that is known of them goes with them.
func (s *spoolTest) testMoved() {
	if _, ok := s.OpenSpool.(queue.MessageOpener); !ok {
		s.Skip("the spool does not show its messages")
	}
	for i := range 4 {
		a := spoolAccept(fmt.Sprintf("Q%d", i), spoolNoon)
		one, two := a.Jobs[0].Clone(), a.Jobs[0].Clone()
		one.Recipients, two.Recipients, two.Number, two.Lane = one.Recipients[:1], two.Recipients[1:], 2, "mx/example.com"
		a.Jobs = []queue.Job{*one, *two, withCopy(a.Entry.ID).Jobs[1]}
		a.Jobs[2].Number = 3
		a.Header = []byte("Received: x\r\n")
		s.commit(a, "body\r\n", nil)
	}
	s.change("Q1", func(m *queue.EntryView) { m.Status.Held = "by the operator" })
	s.change("Q2", func(m *queue.EntryView) {
		m.Jobs[0].Recipients[0].State, m.Jobs[0].Attempts = queue.Delivered, 1
		m.Jobs[2].Attempts, m.Jobs[2].Due = 3, spoolNoon.Add(time.Hour)
		m.Jobs[1].Attempts, m.Jobs[1].Warned, m.Jobs[1].Due = 7, true, spoolNoon.Add(time.Hour)
		m.Status.Notes = []queue.Note{{Seq: 1, Time: spoolNoon, Action: dsn.Delayed, To: queue.Indexes{1}}}
		m.Status.NotesSeq, m.Status.NotesDue = 1, spoolNoon.Add(time.Minute)
	})
	s.change("Q3", func(m *queue.EntryView) {
		for i := range m.Jobs {
			for k := range m.Jobs[i].Recipients {
				m.Jobs[i].Recipients[k].State = queue.Failed
			}
		}
		m.Status.Dead = spoolNoon.Add(24 * time.Hour)
	})
	want := s.views(s.OpenSpool)
	other := queuetest.NewMemSpool()
	here, there := queue.Place{Name: "here", Spool: s.OpenSpool}, queue.Place{Name: "there", Spool: other}
	move := func(from, to queue.Place) {
		s.Helper()
		if err := queue.Move(background, from, to, func(id string, err error) {
			if err != nil {
				s.Errorf("%s: %v", id, err)
			}
		}); err != nil {
			s.Fatalf("Move: %v", err)
		}
	}
	same := func(got map[string]string) {
		s.Helper()
		for id, w := range want {
			if got[id] != w {
				s.Errorf("%s is\n%s\nand was\n%s", id, got[id], w)
			}
		}
	}
	move(here, there)
	same(s.views(other))
	if left := s.views(s.OpenSpool); len(left) != 0 {
		s.Errorf("left behind: %v", left)
	}
	move(there, here)
	same(s.views(s.OpenSpool))
	s.reopen()
	same(s.views(s.OpenSpool))
	l := s.lease(spoolNoon)
	if l.Entry().ID != "Q0" {
		s.Errorf("leased %s", l.Entry().ID)
	}
	l.Release()
}

func marshal(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}

// views tells all that a spool knows.
func (s *spoolTest) views(spool queue.Spool) map[string]string {
	s.Helper()
	all := make(map[string]string)
	var ids []string
	if err := spool.List(background, "", func(v *queue.EntryView) bool {
		all[v.Entry.ID] = marshal(v.Entry) + marshal(v.Status)
		for i := range v.Jobs {
			all[v.Entry.ID] += marshal(v.Jobs[i]) + marshal(v.Jobs[i].Recipients)
		}
		ids = append(ids, v.Entry.ID)
		return true
	}); err != nil {
		s.Fatalf("List: %v", err)
	}
	for _, id := range ids {
		r, err := spool.(queue.MessageOpener).OpenMessage(background, id)
		if err != nil {
			s.Fatalf("OpenMessage: %v", err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			s.Fatal(err)
		}
		_ = r.Close()
		all[id] += fmt.Sprintf("%q", b)
	}
	return all
}
