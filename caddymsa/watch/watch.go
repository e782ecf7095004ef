// Package watch tells when files change that are read again then: users files, maps,
// certificates. It knows nothing of Caddy.
package watch

import (
	"io"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
)

// Waits of a watcher.
const (
	// settle is how long a file must be quiet before it is read: editors and
	// deployment tools write in several steps.
	settle = 100 * time.Millisecond
	// patience is how long a change waits at most for files that are never quiet, or whose
	// directory is not.
	patience = 2 * time.Second
	// poll is how often the files are looked at anyway, for file systems that tell nothing.
	poll = 30 * time.Second
)

// Files calls changed after any of the files has changed: written in place, replaced by a
// rename, removed and made again, or reached by a symbolic link that was swapped, as in
// Kubernetes; a change of its directories' names or links counts too. Calls come one at a
// time, from one goroutine, until the watcher is closed.
//
// A file need not exist, nor its directory. Where the system cannot notify, the files are
// looked at every 30 seconds, and log gets a warning. A caller that reads the files for the
// first time does so afterwards, so that no change is missed, and under a lock that
// changed takes too, so that the older of two readings does not win.
func Files(paths []string, log *zap.Logger, changed func()) (io.Closer, error) {
	w := &watcher{paths: slices.Clone(paths), log: log, changed: changed, hub: shared, settle: settle, patience: patience, poll: poll}
	if err := shared.start(); err != nil { // such as: fs.inotify.max_user_instances is reached
		log.Warn("changes of files are found by polling", zap.Duration("every", poll), zap.Error(err))
		w.hub = nil
	}
	return w.start(), nil
}

// watcher is one caller's. It is owned by the goroutine of run; Close ends it.
type watcher struct {
	paths   []string
	log     *zap.Logger
	changed func()
	hub     *hub // nil: look now and then only

	settle, patience, poll time.Duration

	seen    []fileState
	places  []place         // watched
	refused map[string]bool // directories that could not be watched, and were logged

	events chan struct{} // holds one: something stirred
	stop   chan struct{}
	done   chan struct{}
	close  sync.Once
}

func (w *watcher) start() *watcher {
	w.events, w.stop, w.done, w.refused = make(chan struct{}, 1), make(chan struct{}), make(chan struct{}), make(map[string]bool)
	w.seen = w.state()
	go w.run()
	return w
}

// stir is the hub's way to say that something happened.
func (w *watcher) stir() {
	select {
	case w.events <- struct{}{}:
	default:
	}
}

// run is the watcher's life. An event says only that something stirs; what has
// changed is seen by looking.
func (w *watcher) run() {
	defer close(w.done)
	ticker := time.NewTicker(w.poll)
	defer ticker.Stop()
	quiet := time.NewTimer(w.poll)
	quiet.Stop()
	defer quiet.Stop()
	var since time.Time // when it began to stir; zero while all is quiet
	stir := func() {
		if since.IsZero() {
			since = time.Now()
		}
		quiet.Reset(max(0, min(w.settle, w.patience-time.Since(since))))
	}
	for {
		select {
		case <-w.stop:
			return
		case <-w.events:
			stir()
		case <-quiet.C:
			if w.look(time.Since(since) < w.patience) {
				since = time.Time{}
			} else {
				stir()
			}
		case <-ticker.C:
			if since.IsZero() && !w.look(true) {
				stir()
			}
		}
	}
}

// look calls changed if a file is not what it was. It returns false if a file is still
// being written, where mayWait allows that, and looks no further.
func (w *watcher) look(mayWait bool) bool {
	now := w.state()
	if slices.EqualFunc(w.seen, now, fileState.equal) {
		return true
	}
	if mayWait && w.unsettled(now) {
		return false
	}
	w.seen = now
	w.call()
	return true
}

// call is changed, whose panic must not take the process with it.
func (w *watcher) call() {
	defer func() {
		if p := recover(); p != nil {
			w.log.Error("reading changed files panicked", zap.Any("panic", p), zap.ByteString("stack", debug.Stack()))
		}
	}()
	w.changed()
}

// unsettled tells whether a changed file was written a moment ago. It may be half of
// what it will be; and another write in the same tick of the file system's clock that leaves the
// size alone would not be seen later.
func (w *watcher) unsettled(now []fileState) bool {
	for i, s := range now {
		if age := time.Since(s.modified); !s.equal(w.seen[i]) && age >= 0 && age < w.settle {
			return true
		}
	}
	return false
}

// Close ends the watch. No call of changed is under way when it returns, so changed
// must not call it.
func (w *watcher) Close() error {
	w.close.Do(func() {
		close(w.stop)
		<-w.done
		if w.hub != nil {
			w.hub.watch(w, w.places, nil)
		}
	})
	<-w.done
	return nil
}
