package spoolfile

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// While a store that is damaged is rebuilt, who asks for a message waits and gets it: what was read of the store that was
// given up is neither handed out as an error nor taken for damage of the message.
func TestNobodyNoticesThatTheStoreIsRebuilt(t *testing.T) {
	for range 30 {
		rebuildOnce(t)
	}
}

// rebuildOnce has a store rebuilt while it is asked for messages.
func rebuildOnce(t *testing.T) {
	o := testOptions(newFaulty(vfs.NewMem()))
	o.Retry = time.Millisecond
	s, err := Open("/spool", o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const n = 10
	for i := range n {
		if err := submit(s, fmt.Sprintf("Q%03d", i)); err != nil {
			t.Fatal(err)
		}
	}
	read := func(r io.ReadCloser, err error) error {
		if err != nil {
			return err
		}
		defer r.Close()
		_, err = io.Copy(io.Discard, r)
		return err
	}
	asks := map[string]func(id string) error{
		"get":  func(id string) error { _, err := s.Get(background, id); return err },
		"open": func(id string) error { return read(s.OpenMessage(background, id)) },
		"lease": func(string) error {
			l, _, err := s.Lease(background, noon, queue.Want{})
			if err != nil {
				return err
			}
			defer l.Release()
			return read(l.Open(background))
		},
		"list": func(string) error {
			listed := 0
			err := s.List(background, "", func(v *queue.EntryView) bool {
				if listed++; v.Status.Held != "" {
					t.Errorf("list: %s is held: %s", v.Entry.ID, v.Status.Held)
				}
				return true
			})
			if listed != n {
				t.Errorf("list: %d messages", listed)
			}
			return err
		},
	}
	eng, err := s.engine()
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for name, ask := range asks {
		all.Go(func() {
			for i := range 5 * n {
				if err := ask(fmt.Sprintf("Q%03d", i%n)); err != nil {
					t.Errorf("%s: %v", name, err)
					return
				}
			}
		})
	}
	eng.fail(pebble.ErrCorruption)
	all.Wait()
	if d := len(s.damage.messages); d != 0 {
		t.Errorf("%d messages are said to be damaged", d)
	}
}

// A store that cannot be rebuilt at the first attempt keeps nobody waiting, and is there again when it can be.
func TestNobodyWaitsForAStoreThatCannotBeRebuilt(t *testing.T) {
	fs := newFaulty(vfs.NewMem())
	o := testOptions(fs)
	o.Retry = time.Millisecond
	s, err := Open("/spool", o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := submit(s, "Q1"); err != nil {
		t.Fatal(err)
	}
	fs.set(func(_, name string) error {
		if strings.Contains(name, newStore) {
			return syscall.EIO
		}
		return nil
	})
	eng, _ := s.engine()
	eng.fail(pebble.ErrCorruption)
	if _, err := s.Get(background, "Q1"); !isDown(err) {
		t.Errorf("get: %v", err)
	}
	if _, _, err := s.Lease(background, noon, queue.Want{}); !isDown(err) {
		t.Errorf("lease: %v", err)
	}
	fs.set(nil)
	untilRevived(s)
	if _, err := s.Get(background, "Q1"); err != nil {
		t.Errorf("get, when it is there again: %v", err)
	}
}
