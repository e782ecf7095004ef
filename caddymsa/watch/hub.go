package watch

import (
	"maps"
	"path/filepath"
	"sync"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/zap"
)

// hub shares one watcher of the system's among all callers of the process: there are few of those (on Linux
// 128 a user), and a reload needs them twice.
type hub struct {
	changing sync.Mutex     // what is watched: calls of notify's may wait until run has taken what it has to say
	notify   notifier       // nil: none can be had
	dirs     map[string]int // how many watch a directory

	mu    sync.Mutex                       // held for nothing that may wait, since run takes it
	names map[string]map[*watcher]struct{} // whom a change of a name concerns

	open func() (*fsnotify.Watcher, error) // for tests
}

// notifier is the part of the system's watcher that is called.
type notifier interface {
	Add(dir string) error
	Remove(dir string) error
}

var shared = &hub{open: fsnotify.NewWatcher}

// start has the system's watcher made, if there is none.
func (h *hub) start() error {
	h.changing.Lock()
	defer h.changing.Unlock()
	if h.notify != nil {
		return nil
	}
	notify, err := h.open()
	if err != nil {
		return err
	}
	h.notify, h.dirs, h.names = notify, make(map[string]int), make(map[string]map[*watcher]struct{})
	go h.run(notify.Events, notify.Errors)
	return nil
}

// run hands events on for the life of the process. An event of which nobody is concerned ends here: a log that is
// written beside a users file disturbs nobody.
func (h *hub) run(events <-chan fsnotify.Event, errors <-chan error) {
	for {
		select {
		case e, ok := <-events:
			if !ok {
				return
			}
			h.stir(filepath.Clean(e.Name))
		case err := <-errors: // events were lost, perhaps
			h.lost(err)
		}
	}
}

func (h *hub) stir(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for w := range h.names[name] {
		w.stir()
	}
}

func (h *hub) lost(err error) {
	told := false
	for w := range h.watchers() {
		if !told {
			w.log.Warn("watching files: changes may have been missed, and all files are looked at", zap.Error(err))
			told = true
		}
		w.stir()
	}
}

func (h *hub) watchers() map[*watcher]struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := make(map[*watcher]struct{})
	for _, concerned := range h.names {
		maps.Copy(all, concerned)
	}
	return all
}

// watch takes the places that concern a watcher in the stead of the former ones, and returns the directories that
// cannot be watched.
func (h *hub) watch(w *watcher, before, now []place) (failed map[string]error) {
	h.changing.Lock()
	defer h.changing.Unlock()
	if h.notify == nil {
		return nil
	}
	h.concern(w, before, now)
	for _, p := range now {
		h.dirs[p.dir]++
		// Those that are watched too: the name may be another directory's by now.
		if err := h.notify.Add(p.dir); err != nil {
			if failed == nil {
				failed = make(map[string]error)
			}
			failed[p.dir] = err
		}
	}
	for _, p := range before {
		if h.dirs[p.dir]--; h.dirs[p.dir] == 0 {
			delete(h.dirs, p.dir)
			_ = h.notify.Remove(p.dir)
		}
	}
	return failed
}

// concern has the places concern a watcher in the stead of the former ones.
func (h *hub) concern(w *watcher, before, now []place) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, p := range before {
		for _, name := range []string{p.dir, p.name} {
			delete(h.names[name], w)
			if len(h.names[name]) == 0 {
				delete(h.names, name)
			}
		}
	}
	for _, p := range now {
		for _, name := range []string{p.dir, p.name} {
			if h.names[name] == nil {
				h.names[name] = make(map[*watcher]struct{})
			}
			h.names[name][w] = struct{}{}
		}
	}
}
