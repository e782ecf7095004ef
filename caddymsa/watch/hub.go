package watch

import (
	"path/filepath"
	"sync"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/zap"
)

// hub shares one watcher of the system's among all callers of the process: there are few of those (on Linux
// 128 a user), and a reload needs them twice.
type hub struct {
	mu     sync.Mutex
	notify *fsnotify.Watcher                 // nil: none can be had
	dirs   map[string]int                    // how many watch a directory
	names  map[string]map[*watcher]struct{}  // whom a change of a name concerns
	open   func() (*fsnotify.Watcher, error) // for tests
}

var shared = &hub{open: fsnotify.NewWatcher}

// start has the system's watcher made, if there is none.
func (h *hub) start() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.notify != nil {
		return nil
	}
	notify, err := h.open()
	if err != nil {
		return err
	}
	h.notify, h.dirs, h.names = notify, make(map[string]int), make(map[string]map[*watcher]struct{})
	go h.run(notify)
	return nil
}

// run hands events on for the life of the process. An event of which nobody is concerned ends here: a log that is
// written beside a users file disturbs nobody.
func (h *hub) run(notify *fsnotify.Watcher) {
	for {
		select {
		case e, ok := <-notify.Events:
			if !ok {
				return
			}
			h.stir(filepath.Clean(e.Name))
		case err := <-notify.Errors: // events were lost, perhaps
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
	h.mu.Lock()
	defer h.mu.Unlock()
	all := make(map[*watcher]struct{})
	for _, concerned := range h.names {
		for w := range concerned {
			all[w] = struct{}{}
		}
	}
	for w := range all {
		w.log.Warn("watching files", zap.Error(err))
		w.stir()
	}
}

// watch takes the places that concern a watcher in the stead of the former ones, and returns the directories that
// cannot be watched.
func (h *hub) watch(w *watcher, before, now []place) (failed map[string]error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.notify == nil {
		return nil
	}
	for _, p := range now {
		h.concern(w, p.dir)
		h.concern(w, p.name)
		h.dirs[p.dir]++
		// Those that are watched too: the name may be another directory's by now.
		if err := h.notify.Add(p.dir); err != nil {
			if failed == nil {
				failed = make(map[string]error)
			}
			failed[p.dir] = err
		}
	}
	kept := make(map[string]bool)
	for _, p := range now {
		kept[p.dir], kept[p.name] = true, true
	}
	for _, p := range before {
		for _, name := range []string{p.dir, p.name} {
			if !kept[name] {
				h.unconcern(w, name)
			}
		}
		if h.dirs[p.dir]--; h.dirs[p.dir] == 0 {
			delete(h.dirs, p.dir)
			_ = h.notify.Remove(p.dir)
		}
	}
	return failed
}

func (h *hub) concern(w *watcher, name string) {
	if h.names[name] == nil {
		h.names[name] = make(map[*watcher]struct{})
	}
	h.names[name][w] = struct{}{}
}

func (h *hub) unconcern(w *watcher, name string) {
	delete(h.names[name], w)
	if len(h.names[name]) == 0 {
		delete(h.names, name)
	}
}
