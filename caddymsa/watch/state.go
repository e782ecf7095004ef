package watch

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
)

// fileState is what tells one version of a file from another. The zero value is that of a
// file that is not there.
type fileState struct {
	target   string // where symbolic links lead
	modified time.Time
	size     int64
	info     os.FileInfo // for the inode
}

func (s fileState) equal(o fileState) bool {
	same := s.info == nil && o.info == nil || s.info != nil && o.info != nil && os.SameFile(s.info, o.info)
	return same && s.target == o.target && s.modified.Equal(o.modified) && s.size == o.size
}

// state looks at the files. Their directories are watched before that, so that a change
// after it is an event.
func (w *watcher) state() []fileState {
	for range maxLinks {
		if !w.watchDirs() {
			break
		}
		// A directory that was made meanwhile may hold the next already.
	}
	states := make([]fileState, len(w.paths))
	for i, path := range w.paths {
		states[i] = stateOf(path)
	}
	return states
}

func stateOf(path string) fileState {
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return fileState{}
	}
	info, err := os.Stat(target)
	if err != nil {
		return fileState{}
	}
	return fileState{target, info.ModTime(), info.Size(), info}
}

// watchDirs watches the directories of the files and of every symbolic link on the way: a
// file that is replaced takes a watch on itself with it. It tells whether they are others
// than before.
func (w *watcher) watchDirs() bool {
	if w.hub == nil {
		return false
	}
	var places []place
	for _, path := range w.paths {
		places = append(places, placesOf(path)...)
	}
	slices.SortFunc(places, func(a, b place) int { return strings.Compare(a.name, b.name) })
	places = slices.Compact(places)
	failed := w.hub.watch(w, w.places, places)
	for dir, err := range failed {
		if !w.refused[dir] {
			w.log.Warn("directory cannot be watched; changes are found by polling",
				zap.String("directory", dir), zap.Duration("every", w.poll), zap.Error(err))
		}
	}
	for _, p := range places {
		w.refused[p.dir] = failed[p.dir] != nil
	}
	changed := !slices.Equal(w.places, places)
	w.places = places
	return changed
}

// place is a name in a directory, both as whole paths.
type place struct{ dir, name string }

// maxLinks is how many symbolic links are followed, as in Linux.
const maxLinks = 40

// placesOf returns the names in directories whose change can change what path leads to:
// the file's own, that of each symbolic link on the way, and where a directory is missing, its name in the
// one it would be in. The directories are free of symbolic links.
func placesOf(path string) (places []place) {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	root := filepath.VolumeName(path) + string(filepath.Separator)
	dir, links := root, 0
	for rest := elements(path); len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		if name == ".." {
			dir = filepath.Dir(dir)
			continue
		}
		full := filepath.Join(dir, name)
		target, err := os.Readlink(full)
		if err == nil && links < maxLinks {
			links++
			places = append(places, place{dir, full})
			if filepath.IsAbs(target) {
				dir = root
			}
			rest = append(elements(target), rest...)
			continue
		}
		if info, err := os.Lstat(full); len(rest) == 0 || err != nil || !info.IsDir() {
			return append(places, place{dir, full})
		}
		dir = full
	}
	return places
}

// elements splits a path, without its volume. ".." stays: what it means depends on links.
func elements(path string) []string {
	path = filepath.ToSlash(path[len(filepath.VolumeName(path)):])
	return slices.DeleteFunc(strings.Split(path, "/"), func(name string) bool { return name == "" || name == "." })
}
