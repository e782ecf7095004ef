package spoolfile

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/durable"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// Store is a spool in a directory:
//
//	lock      held by the process that has the spool open
//	ballast   given up when the disk is full
//	store/    pebble: envelopes, prepended headers, small bodies
//	bodies/   a file for each large body
//	state     how the spool was left
//	damaged/  what was damaged and set aside
//
// All methods may be called at the same time.
type Store struct {
	dir      string
	opts     Options
	fs       vfs.FS
	log      *zap.Logger
	lock     io.Closer
	space    *space
	schedule *schedule
	locks    locks // of entries: held by who changes what is stored of one
	buffers  buffers
	recent   recent
	stamps   stamps
	fresh    fresh
	names    shared       // syncs the directory of the bodies
	coming   atomic.Int32 // drafts that a client writes
	lastFile atomic.Uint64
	notify   chan struct{}
	closing  chan struct{}
	watching sync.WaitGroup

	// See tidy.go. Octets of small messages: those that are there, those deleted
	// since the tables were clean, those deleted since the last look.
	live, dead, unseen atomic.Int64
	// held are the octets of all messages, small and large.
	held   atomic.Int64
	limits atomic.Pointer[limits]
	// limited: they have been reached; for the log.
	limited atomic.Bool
	tidy    chan struct{} // a look is wanted
	book    book

	damage damage
	aside  string // where damage was set aside, if there was any

	mu      sync.Mutex
	current *engine
	closed  bool
	stuck   bool // storage that failed could not be opened again at the first attempt
	doubts  doubts
}

// manyEntries is from how many on what reading them has left behind is given back at once: nothing else would for as long
// as there is little to do.
const manyEntries = 50_000

// inUseError says that another process has the spool open.
type inUseError struct {
	pid   string
	cause error
}

func (e *inUseError) Error() string {
	if e.pid != "" {
		return "in use by process " + e.pid
	}
	return "in use by another process"
}

func (e *inUseError) Unwrap() error { return e.cause }

// Is makes it a queue.ErrInUse.
func (e *inUseError) Is(target error) bool { return target == queue.ErrInUse }

// Open opens the spool in a directory, which is made if there is none, and finds
// everything that was committed to it.
func Open(dir string, opts Options) (_ *Store, err error) {
	opts.setDefaults()
	s := &Store{
		dir:      dir,
		opts:     opts,
		fs:       opts.FS,
		log:      opts.Log,
		schedule: newSchedule(),
		notify:   make(chan struct{}, 1),
		closing:  make(chan struct{}),
		tidy:     make(chan struct{}, 1),
		doubts:   newDoubts(),
	}
	s.buffers.init(opts.Threshold)
	s.book.init(s)
	s.fresh.buffers = &s.buffers
	s.limits.Store(&limits{opts.MaxMessages, opts.MaxOctets})
	if err := s.makeDir(s.dir); err != nil {
		return nil, fmt.Errorf("spool directory %s: %w", dir, explain(err))
	}
	for _, name := range []string{"lock", "ballast"} {
		if info, err := s.fs.Stat(s.path(name)); err == nil && info.IsDir() {
			if err := s.moveAside(s.path(name), errDirectory); err != nil {
				return nil, fmt.Errorf("spool directory %s: %w", dir, err)
			}
		}
	}
	if s.lock, err = s.fs.Lock(s.path("lock")); err != nil {
		var used *inUseError
		if !errors.As(err, &used) {
			return nil, fmt.Errorf("spool directory %s: %w", dir, explain(err))
		}
		return nil, fmt.Errorf("spool directory %s is %w; stop that one first, or give this one a directory of its own (spool file <directory>)", dir, used)
	}
	defer func() {
		if err != nil {
			s.lock.Close()
			err = fmt.Errorf("spool directory %s: %w", dir, err)
		}
	}()
	s.names.f = func() error { return durable.SyncDir(s.fs.OpenDir, s.path("bodies")) }
	s.space = &space{fs: s.fs, dir: dir, ballast: opts.Ballast, name: s.path("ballast"), log: s.log, ample: opts.ample}
	s.space.reserve.Store(max(0, opts.Reserve))
	s.space.nearlyFull = func() { poke(s.book.short) }
	_, statErr := s.fs.Stat(s.space.name)
	s.space.held = statErr == nil

	s.readAside()
	eng, bodies, err := s.openStored()
	if err != nil {
		return nil, explain(err)
	}
	// What no envelope knows was never accepted, or is done with; or its envelope is lost.
	for n := range bodies {
		s.removeOrphan(n)
	}
	if err := s.leaveState(leftAs{Open: true}); err != nil {
		eng.close()
		return nil, explain(err)
	}
	s.current = eng
	s.watching.Add(3)
	go s.book.keep()
	go s.watch(eng)
	go s.tidier()
	if s.schedule.len() >= manyEntries {
		go debug.FreeOSMemory()
	}
	s.dead.Store(tidyStep) // an earlier process may have left as much
	s.askTidy()
	_ = s.space.check() // takes the ballast, logs want of room
	return s, nil
}

// openScanned opens the store and has the schedule know what is in it. The bodies are those of no message.
func (s *Store) openScanned() (*engine, map[uint64]struct{}, error) {
	eng, err := s.openEngine()
	if err != nil {
		return nil, nil, err
	}
	bodies, err := s.listBodies()
	if err != nil {
		eng.close()
		return nil, nil, &engineError{err}
	}
	err = s.scan(eng, func(e *entry) {
		s.born(e)
		if _, ok := bodies[e.file]; e.file != 0 && !ok {
			s.spoil(e, fmt.Errorf("its body is missing: %s", s.bodyFile(e.file)))
		}
		delete(bodies, e.file)
	})
	if err != nil {
		busy := eng.close()
		if busy == nil {
			busy = eng.rest() // the scan may go on, and would fill the schedule that follows
		}
		if errors.Is(busy, errBusy) {
			return nil, nil, busy
		}
		s.schedule = newSchedule()
		s.damage.messages = nil
		s.live.Store(0)
		s.held.Store(0)
		return nil, nil, err
	}
	return eng, bodies, nil
}

func (s *Store) path(name string) string { return s.fs.PathJoin(s.dir, name) }

// makeDirs makes the directories and makes them durable.
func (s *Store) makeDirs() error {
	for _, dir := range []string{s.path("bodies"), s.path("store")} {
		if err := s.makeDir(dir); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) makeDir(dir string) error {
	// The first directory above that is there already gets a new name in it.
	var made []string
	for d := dir; ; d = s.fs.PathDir(d) {
		if _, err := s.fs.Stat(d); err == nil || s.fs.PathDir(d) == d {
			break
		}
		made = append(made, d)
	}
	if info, err := s.fs.Stat(dir); err == nil && !info.IsDir() && dir != s.dir {
		if err := s.moveAside(dir, errors.New("it is not a directory")); err != nil {
			return err
		}
	}
	if err := s.fs.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, d := range made {
		if err := durable.SyncDir(s.fs.OpenDir, s.fs.PathDir(d)); err != nil {
			return err
		}
	}
	return nil
}

// openEngine opens the store, whose writes may use the ballast's room.
func (s *Store) openEngine() (*engine, error) {
	eng, err := openEngine(vfs.OnDiskFull(s.fs, s.space.drop), s.path("store"), s.opts.memTable, &s.coming, s.log)
	if err != nil {
		return nil, err
	}
	eng.seq.filled = func() { poke(s.book.filled) }
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current != nil {
		eng.seq.atLeast(s.current.seq.placed.Load())
	}
	return eng, nil
}

const bodySuffix = ".body"

func (s *Store) bodyFile(n uint64) string {
	return s.fs.PathJoin(s.dir, "bodies", strconv.FormatUint(n, 10)+bodySuffix)
}

// listBodies finds the bodies' files, and the number from which new ones go on.
func (s *Store) listBodies() (map[uint64]struct{}, error) {
	names, err := s.fs.List(s.path("bodies"))
	if err != nil {
		return nil, err
	}
	found := make(map[uint64]struct{}, len(names))
	for _, name := range names {
		n, err := strconv.ParseUint(strings.TrimSuffix(name, bodySuffix), 10, 64)
		if err != nil || filepath.Ext(name) != bodySuffix {
			continue // not ours
		}
		found[n] = struct{}{}
		if n > s.lastFile.Load() {
			s.lastFile.Store(n)
		}
	}
	return found, nil
}

// removeBody removes a body's file. If that fails it is found at the next start.
func (s *Store) removeBody(n uint64) {
	if n == 0 {
		return
	}
	if err := s.fs.Remove(s.bodyFile(n)); err != nil {
		s.log.Warn("spool body", zap.Error(err))
	}
}

// engine returns the engine in use.
func (s *Store) engine() (*engine, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, queue.ErrClosed
	}
	select {
	case <-s.current.failed:
		return nil, s.current.failure()
	default:
		return s.current, nil
	}
}

// commit makes a change durable.
func (s *Store) commit(c *change) error {
	eng, err := s.engine()
	if err != nil {
		return err
	}
	return eng.commit(c)
}

// wake tells who waits in Lease's stead that something changed.
func (s *Store) wake() {
	select {
	case s.notify <- struct{}{}:
	default:
	}
}

// Notify implements queue.Notifier.
func (s *Store) Notify() <-chan struct{} { return s.notify }

// Close ends the use of the spool. What is leased or half written then is due,
// or gone, at the next start.
func (s *Store) Close() error {
	_ = s.book.writeNotes() // or they are lost with the storage
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	close(s.closing)
	s.mu.Unlock()
	s.watching.Wait() // from here on current stays
	flushed := s.current.flush()
	err := s.current.close()
	if flushed == nil && err == nil && !s.current.fs.down.Load() {
		err = s.leaveClean()
	}
	if errors.Is(err, errBusy) {
		return err // and nobody else may use the files
	}
	return errors.Join(err, s.lock.Close())
}

// Interface guards
var (
	_ queue.OpenSpool = (*Store)(nil)
	_ queue.Notifier  = (*Store)(nil)
	_ queue.Stamper   = (*Store)(nil)
)
