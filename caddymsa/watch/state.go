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

// watchDirs watches the directories of the files and of every symbolic link on the way: a
// file that is replaced takes a watch on itself with it. It tells whether they are others
// than before.
func (w *watcher) watchDirs() bool {
	if w.notify == nil {
		return false
	}
	var dirs []string
	for _, path := range w.paths {
		dirs = append(dirs, dirsOf(path)...)
	}
	slices.Sort(dirs)
	dirs = slices.Compact(dirs)
	for _, dir := range w.dirs {
		if !slices.Contains(dirs, dir) {
			_ = w.notify.Remove(dir)
		}
	}
	for _, dir := range dirs { // the old ones too: the name may be another directory's by now
		err := w.notify.Add(dir)
		if err != nil && !w.refused[dir] {
			w.log.Warn("directory cannot be watched; changes are found by looking now and then",
				zap.String("directory", dir), zap.Duration("every", w.poll), zap.Error(err))
		}
		w.refused[dir] = err != nil
	}
	changed := !slices.Equal(w.dirs, dirs)
	w.dirs = dirs
	return changed
}

// maxLinks is how many symbolic links are followed, as in Linux.
const maxLinks = 40

// dirsOf returns the directories in which a change of names can change what path leads to:
// the file's own, that of each symbolic link on the way, and where a directory is missing, the
// one it would be in. They are free of symbolic links.
func dirsOf(path string) (dirs []string) {
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
			dirs = append(dirs, dir)
			if filepath.IsAbs(target) {
				dir = root
			}
			rest = append(elements(target), rest...)
			continue
		}
		if info, err := os.Lstat(full); len(rest) == 0 || err != nil || !info.IsDir() {
			return append(dirs, dir)
		}
		dir = full
	}
	return dirs
}

// elements splits a path, without its volume. ".." stays: what it means depends on links.
func elements(path string) []string {
	path = filepath.ToSlash(path[len(filepath.VolumeName(path)):])
	return slices.DeleteFunc(strings.Split(path, "/"), func(name string) bool { return name == "" || name == "." })
}
