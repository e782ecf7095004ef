// Package watch tells when files change that are read again then: users files, maps,
// certificates. It knows nothing of Caddy.
package watch

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/zap"
)

// Waits of a watcher.
const (
	// settle is how long a file must be quiet before it is read: editors and
	// deployment tools write in several steps.
	settle = 100 * time.Millisecond
	// poll is how often the files are looked at anyway, for file systems that tell nothing.
	poll = 30 * time.Second
)

// Files calls changed after any of the files has changed: written in place, replaced by a
// rename, removed and made again, or reached by a symbolic link that was swapped, as in
// Kubernetes. Calls come one at a time, from one goroutine, until the watcher is closed.
func Files(paths []string, log *zap.Logger, changed func()) (io.Closer, error) {
	return files(paths, log, changed, settle, poll)
}

func files(paths []string, log *zap.Logger, changed func(), settle, poll time.Duration) (*watcher, error) {
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watching files: %w", err)
	}
	w := &watcher{notify: notify, paths: slices.Clone(paths), log: log, changed: changed,
		settle: settle, stop: make(chan struct{}), done: make(chan struct{})}
	w.watchDirs()
	w.seen = w.state()
	go w.run(poll)
	return w, nil
}

// watcher is owned by the goroutine of run; Close ends it.
type watcher struct {
	notify  *fsnotify.Watcher
	paths   []string
	log     *zap.Logger
	changed func()
	settle  time.Duration
	dirs    []string
	seen    []fileState
	stop    chan struct{}
	done    chan struct{}
}

// fileState is what tells one version of a file from another.
type fileState struct {
	target   string // where symbolic links lead
	modified time.Time
	size     int64
	info     os.FileInfo
}

func (s fileState) equal(o fileState) bool {
	same := s.info == nil && o.info == nil || s.info != nil && o.info != nil && os.SameFile(s.info, o.info)
	return same && s.target == o.target && s.modified.Equal(o.modified) && s.size == o.size
}

func (w *watcher) state() []fileState {
	states := make([]fileState, len(w.paths))
	for i, path := range w.paths {
		target, err := filepath.EvalSymlinks(path)
		if err != nil {
			continue
		}
		info, err := os.Stat(target)
		if err != nil {
			continue
		}
		states[i] = fileState{target, info.ModTime(), info.Size(), info}
	}
	return states
}

// watchDirs watches the directories of the files and of what they link to: a file that
// is replaced takes a watch on itself with it.
func (w *watcher) watchDirs() {
	var dirs []string
	for _, path := range w.paths {
		dirs = append(dirs, filepath.Dir(path))
		if target, err := filepath.EvalSymlinks(path); err == nil {
			dirs = append(dirs, filepath.Dir(target))
		}
	}
	slices.Sort(dirs)
	dirs = slices.Compact(dirs)
	for _, dir := range w.dirs {
		if !slices.Contains(dirs, dir) {
			_ = w.notify.Remove(dir)
		}
	}
	for _, dir := range dirs {
		if err := w.notify.Add(dir); err != nil { // polling goes on
			w.log.Warn("directory cannot be watched; changes are found by looking now and then", zap.String("directory", dir), zap.Error(err))
		}
	}
	w.dirs = dirs
}

func (w *watcher) run(poll time.Duration) {
	defer close(w.done)
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	quiet := time.NewTimer(0)
	if !quiet.Stop() {
		<-quiet.C
	}
	defer quiet.Stop()
	for {
		select {
		case <-w.stop:
			return
		case _, ok := <-w.notify.Events:
			if ok {
				quiet.Reset(w.settle)
			}
		case err := <-w.notify.Errors:
			if err != nil { // events were lost, perhaps
				w.log.Warn("watching files", zap.Error(err))
				quiet.Reset(w.settle)
			}
		case <-quiet.C:
			w.look()
		case <-ticker.C:
			w.look()
		}
	}
}

// look calls changed if a file is not what it was.
func (w *watcher) look() {
	now := w.state()
	if slices.EqualFunc(w.seen, now, fileState.equal) {
		return
	}
	w.seen = now
	w.watchDirs()
	w.changed()
}

// Close ends the watch. No call of changed is under way when it returns, so changed
// must not call it.
func (w *watcher) Close() error {
	select {
	case <-w.stop:
	default:
		close(w.stop)
	}
	<-w.done
	return w.notify.Close()
}
