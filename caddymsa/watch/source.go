package watch

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// Source reads files of one kind: users, lists, maps. What a file says is in memory once, however many callers have it open, such as
// the configuration that ends and the one that begins; it is read again when its content has changed, and only then. A kind of
// file has one Source in the process.
type Source[T any] struct {
	// Parse reads a file, whose name is for errors. Before is what it said before, if anything; what is the same may be
	// shared with it. Neither may be changed later.
	Parse func(r io.Reader, name string, size int64, before T) (T, error)

	mu    sync.Mutex
	files map[string]*file[T]
}

// File is a caller's hold on a file.
type File[T any] struct {
	source  *Source[T]
	file    *file[T]
	changed func(T, error)
	close   sync.Once
}

// file is in memory as long as a caller has it open.
type file[T any] struct {
	source *Source[T]
	path   string
	value  atomic.Pointer[T]

	mu    sync.Mutex // reading
	state fileState
	at    time.Time // when it was read
	sum   [sha256.Size]byte
	watch io.Closer
	users []*File[T] // guarded by source.mu

	telling sync.Mutex // calls of changed
}

// Open reads a file, unless that is in memory already and has not changed, and watches it. After a change, changed gets what the file
// says then, or why it cannot be read, in which case what it said before stays; calls come one at a time. A file that has become
// empty cannot be read: it is about to be written, or was cut off.
func (s *Source[T]) Open(path string, log *zap.Logger, changed func(T, error)) (*File[T], error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	f := s.files[path]
	if f == nil {
		f = &file[T]{source: s, path: path}
		if s.files == nil {
			s.files = make(map[string]*file[T])
		}
		s.files[path] = f
	}
	hold := &File[T]{source: s, file: f, changed: changed}
	f.users = append(f.users, hold)
	s.mu.Unlock()
	news, err := f.open(log)
	if err != nil {
		_ = hold.Close()
		return nil, err
	}
	if news {
		f.tell(nil, hold)
	}
	return hold, nil
}

// open watches before it reads, so that no change is missed.
func (f *file[T]) open(log *zap.Logger) (changed bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.watch == nil {
		if f.watch, err = Files([]string{f.path}, log, f.reload); err != nil {
			return false, err
		}
	}
	return f.read()
}

// racy is how old a change must be when a file is read, to be sure that a later one has another time.
const racy = 2 * time.Second

// read reads the file if it is not what it was, and tells whether what it says has changed.
func (f *file[T]) read() (changed bool, err error) {
	state := stateOf(f.path)
	if f.value.Load() != nil && f.state.equal(state) && f.at.Sub(state.modified) > racy {
		return false, nil
	}
	in, err := openRegular(f.path)
	if err != nil {
		return false, err
	}
	defer in.Close()
	at := time.Now()
	var before T
	if last := f.value.Load(); last != nil {
		// It is read for its sum first: mostly nothing has changed.
		hash := sha256.New()
		n, err := io.Copy(hash, in)
		if err != nil {
			return false, err
		}
		if f.sum == [sha256.Size]byte(hash.Sum(nil)) {
			f.state, f.at = state, at
			return false, nil
		}
		if n == 0 { // a shell empties what it is to write, and a cut copy leaves it so
			return false, fmt.Errorf("%s: the file has become empty; if it is meant to be, write a line with a comment, such as # no users", f.path)
		}
		if _, err := in.Seek(0, io.SeekStart); err != nil {
			return false, err
		}
		before = *last
	}
	hash := sha256.New()
	value, err := f.source.Parse(io.TeeReader(in, hash), f.path, state.size, before)
	if err != nil {
		return false, err
	}
	if _, err := io.Copy(hash, in); err != nil { // what a parser may leave
		return false, err
	}
	f.value.Store(&value)
	f.state, f.at, f.sum = state, at, [sha256.Size]byte(hash.Sum(nil))
	return true, nil
}

// reload is called when the file may have changed.
func (f *file[T]) reload() {
	changed, err := f.readNow()
	if changed || err != nil {
		f.tell(err, nil)
	}
}

func (f *file[T]) readNow() (changed bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock() // whatever a parser does
	return f.read()
}

// tell calls all who have the file open, but for one.
func (f *file[T]) tell(err error, but *File[T]) {
	f.telling.Lock()
	defer f.telling.Unlock()
	f.source.mu.Lock()
	users := slices.Clone(f.users)
	f.source.mu.Unlock()
	var value T
	if v := f.value.Load(); v != nil {
		value = *v
	}
	for _, u := range users {
		if u != but {
			u.changed(value, err)
		}
	}
}

// Load returns what the file said when it was read last.
func (h *File[T]) Load() T { return *h.file.value.Load() }

// Reload reads the file now, if it has changed. All who have it open are told then, this one too.
func (h *File[T]) Reload() error {
	changed, err := h.file.readNow()
	if changed {
		h.file.tell(nil, nil)
	}
	return err
}

// Close ends the hold. The last one ends the watch.
func (h *File[T]) Close() (err error) {
	h.close.Do(func() {
		s, f := h.source, h.file
		s.mu.Lock()
		f.users = slices.DeleteFunc(f.users, func(u *File[T]) bool { return u == h })
		last := len(f.users) == 0
		if last {
			delete(s.files, f.path)
		}
		s.mu.Unlock()
		if !last {
			return
		}
		f.mu.Lock()
		watch := f.watch
		f.watch = nil
		f.mu.Unlock()
		if watch != nil { // outside the lock, which reload takes
			err = watch.Close()
		}
	})
	return err
}

// openRegular opens a file. Reading a pipe would wait for a writer.
func openRegular(path string) (*os.File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file", path)
	}
	return os.Open(path)
}

// Use hands on what was read last, and again what is read meanwhile: whoever opened the file may have been told of it before.
func (h *File[T]) Use(use func(T)) {
	for read := h.file.value.Load(); ; {
		use(*read)
		latest := h.file.value.Load()
		if latest == read {
			return
		}
		read = latest
	}
}
