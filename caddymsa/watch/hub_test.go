package watch

import (
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/zap"
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
