package watch

import (
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// busy is a system's watcher that does nothing before it has told what it has to tell: fsnotify tells an error under the lock that its
// calls take, as when a directory is moved and removed in one.
type busy struct {
	events chan fsnotify.Event
	errors chan error
}

func (b busy) Add(dir string) error {
	for range 2 {
		b.events <- fsnotify.Event{Name: dir}
		b.errors <- fsnotify.ErrEventOverflow
	}
	return nil
}

func (b busy) Remove(dir string) error { return b.Add(dir) }

// Who changes what is watched holds up nobody who says what has changed: each would wait for the other, and the next reload for both.
func TestHubListens(t *testing.T) {
	b := busy{make(chan fsnotify.Event), make(chan error)}
	h := &hub{notify: b, dirs: make(map[string]int), names: make(map[string]map[*watcher]struct{})}
	go h.run(b.events, b.errors)
	w := &watcher{log: zap.NewNop(), events: make(chan struct{}, 1)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		places := []place{{"/a", "/a/users"}}
		h.watch(w, nil, places)
		h.watch(w, places, nil)
	}()
	select {
	case <-done:
		close(b.events)
	case <-time.After(time.Minute):
		t.Fatal("the hub does not listen")
	}
	if len(w.events) != 1 || len(h.names) != 0 || len(h.dirs) != 0 {
		t.Errorf("%d events, names %v, directories %v", len(w.events), h.names, h.dirs)
	}
}

// That events were lost is one line, however many files are watched: all are looked at.
func TestLost(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	b := busy{make(chan fsnotify.Event, 10), make(chan error, 10)}
	h := &hub{notify: b, dirs: make(map[string]int), names: make(map[string]map[*watcher]struct{})}
	var all []*watcher
	for range 3 {
		w := &watcher{log: zap.New(core), events: make(chan struct{}, 1)}
		h.watch(w, nil, []place{{"/a", "/a/users"}})
		all = append(all, w)
	}
	h.lost(fsnotify.ErrEventOverflow)
	for i, w := range all {
		if len(w.events) != 1 {
			t.Errorf("watcher %d does not look", i)
		}
	}
	if logs.Len() != 1 {
		t.Errorf("%d lines", logs.Len())
	}
}
