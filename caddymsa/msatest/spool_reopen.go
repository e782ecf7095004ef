package msatest

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// A spool that is closed and opened again.

func (s *spoolTest) testReopen() {
	for i := range 40 {
		s.commit(spoolAccept(fmt.Sprintf("Q%02d", i), spoolNoon.Add(time.Duration(i))), "H\r\n", spoolBody(i, i*i*200))
	}
	for i := range 10 {
		l := s.lease(spoolNoon.Add(time.Hour))
		if i%2 == 0 {
			s.record(l, delivered(l))
		}
	}
	for range 3 {
		s.reopen()
		var want []string
		for i := range 40 {
			if i >= 10 || i%2 == 1 {
				want = append(want, fmt.Sprintf("Q%02d", i))
			}
		}
		s.wantIDs(want...)
		for _, id := range want {
			l := s.lease(spoolNoon.Add(time.Hour))
			var i int
			_, _ = fmt.Sscanf(id, "Q%d", &i)
			if l.Entry().ID != id || !bytes.Equal(s.message(l), append([]byte("H\r\n"), spoolBody(i, i*i*200)...)) {
				s.Errorf("%s came back changed", id)
			}
		}
		s.none(spoolNoon.Add(time.Hour), time.Time{})
	}
}

func (s *spoolTest) testClosed() {
	s.commit(spoolAccept("Q1", spoolNoon), "", nil)
	d, err := s.Create(background)
	if err != nil {
		s.Fatal(err)
	}
	l := s.lease(spoolNoon)
	if err := s.Close(); err != nil {
		s.Fatal(err)
	}
	for name, err := range map[string]error{
		"Create": func() error { _, err := s.Create(background); return err }(),
		"Lease":  func() error { _, _, err := s.Lease(background, spoolNoon, queue.Want{}); return err }(),
		"Commit": d.Commit(background, spoolAccept("Q2", spoolNoon)),
		"Record": l.Record(background, delivered(l)),
		"Get":    func() error { _, err := s.Get(background, "Q1"); return err }(),
		"List":   s.List(background, "", func(*queue.EntryView) bool { return true }),
		"Change": func() error {
			_, err := s.Change(background, "Q1", func(*queue.EntryView) error { return nil })
			return err
		}(),
		"Delete": func() error { _, err := s.Delete(background, "Q1"); return err }(),
		"Lanes":  s.Lanes(background, func(queue.LaneInfo) bool { return true }),
		"Size":   func() error { _, _, err := s.Size(background); return err }(),
	} {
		if !errors.Is(err, queue.ErrClosed) {
			s.Errorf("%s after Close: %v, wanted ErrClosed", name, err)
		}
	}
	s.SetLane("a", queue.LaneState{})
	l.Release()
	d.Abort()
	s.OpenSpool = s.open(s, s.dir)
	s.wantIDs("Q1")
}
