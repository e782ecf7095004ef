package msatest

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// testOnce has the same message committed again: at the same time, after it was delivered, and when it counts no longer.
func (s *spoolTest) testOnce() {
	memory, ok := s.OpenSpool.(queue.Rememberer)
	if !ok {
		s.Skip("the spool does not remember what it had")
	}
	commit := func(id, digest string, keep time.Duration) error {
		d, err := s.Create(background)
		if err != nil {
			return err
		}
		defer d.Abort()
		a := spoolAccept(id, spoolNoon)
		a.Once = &queue.Once{Digest: sha256.Sum256([]byte(digest)), Keep: keep}
		if _, err := d.Write([]byte("12345")); err != nil {
			return err
		}
		return d.Commit(background, a)
	}
	before := func(digest, want string) {
		s.Helper()
		id, err := memory.Before(background, sha256.Sum256([]byte(digest)))
		if err != nil || id != want {
			s.Errorf("Before %s: %q, %v; want %q", digest, id, err, want)
		}
	}
	refused := func(id, digest, as string) {
		s.Helper()
		var e *queue.BeforeError
		if err := commit(id, digest, time.Hour); !errors.As(err, &e) || e.ID != as {
			s.Errorf("commit again: %v, want that it was before as %s", err, as)
		}
		if _, err := s.Get(background, id); !errors.Is(err, queue.ErrNotFound) {
			s.Errorf("%s is there: %v", id, err)
		}
	}
	before("one", "")
	for id, digest := range map[string]string{"Q1": "one", "Q2": "two"} {
		if err := commit(id, digest, time.Hour); err != nil {
			s.Fatal(err)
		}
	}
	refused("Q3", "one", "Q1")
	before("one", "Q1")
	l := s.lease(spoolNoon)
	id := l.Entry().ID
	s.record(l, as(l, queue.Delivered))
	digest := map[string]string{"Q1": "one", "Q2": "two"}[id]
	refused("Q4", digest, id)
	s.reopen()
	memory = s.OpenSpool.(queue.Rememberer)
	refused("Q5", digest, id)
	before(digest, id)

	if err := commit("Q6", "short", time.Millisecond); err != nil {
		s.Fatal(err)
	}
	for id := "?"; id != ""; {
		var err error
		if id, err = memory.Before(background, sha256.Sum256([]byte("short"))); err != nil {
			s.Fatal(err)
		}
	}
	if err := commit("Q7", "short", time.Hour); err != nil {
		s.Fatal(err)
	}
	before("short", "Q7")

	var n atomic.Int64
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			var e *queue.BeforeError
			switch err := commit(fmt.Sprintf("R%d", i), "race", time.Hour); {
			case err == nil:
				n.Add(1)
			case !errors.As(err, &e):
				s.Errorf("commit: %v", err)
			}
		})
	}
	all.Wait()
	if n.Load() != 1 {
		s.Errorf("of 16 at the same time %d were committed", n.Load())
	}
}
