package spoolfile

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

const (
	memTable     = 4 << 20 // what is written gathers here until it goes to a table
	maxBatch     = 1 << 20 // octets in one shared commit
	blockCache   = 1 << 20 // little is read twice
	maxOpenFiles = 64
	// maxBackgroundErrors is how many failures of flushes and compactions an engine
	// may have before it is given up and opened anew.
	maxBackgroundErrors = 20
)

// engine is one opening of the pebble store. Pebble ends the process when its log
// or manifest cannot be written; here such an engine is marked as failed, every
// caller is let go, and it is never touched again. A goroutine of pebble that hit
// the failure stays where it is, since it may hold any lock.
type engine struct {
	db     *pebble.DB
	fs     *fence
	failed chan struct{} // closed when the engine is beyond use
	cause  error         // why; read after failed is closed
	once   sync.Once

	changes  chan *change
	coming   *atomic.Int32 // messages that are being written
	patience time.Duration
	seq      sequence
	done     chan struct{} // the committer has ended
	readers  readers

	mu     sync.RWMutex // held to read while the engine is in use
	closed bool
}

func openEngine(fs vfs.FS, dir string, memTable uint64, coming *atomic.Int32, log *zap.Logger) (*engine, error) {
	e := &engine{
		fs:       newFence(fs),
		failed:   make(chan struct{}),
		changes:  make(chan *change, 256),
		coming:   coming,
		patience: patience,
		done:     make(chan struct{}),
		readers:  readers{work: make(chan func())},
	}
	opened := make(chan error, 1)
	go func() {
		defer e.guard()
		var err error
		compactions := newScheduler()
		if e.db, err = pebble.Open(dir, e.options(memTable, compactions, log)); err == nil {
			compactions.start()
			fatal := e.fail
			e.fs.fatal.Store(&fatal)
			if err = e.seq.open(e.db); err != nil {
				_ = e.db.Close()
			}
		}
		opened <- err
	}()
	select {
	case err := <-opened:
		if err == nil {
			go e.run()
			return e, nil
		}
		e.fail(err)
	case <-e.failed:
	}
	if err := e.giveUp(); err != nil {
		return nil, err
	}
	return nil, e.cause
}

func (e *engine) options(memTable uint64, compactions pebble.CompactionScheduler, log *zap.Logger) *pebble.Options {
	o := &pebble.Options{
		FS:                          e.fs,
		FormatMajorVersion:          pebble.FormatNewest,
		Logger:                      engineLog{e, log},
		CacheSize:                   blockCache,
		MaxOpenFiles:                maxOpenFiles,
		MemTableSize:                memTable,
		MemTableStopWritesThreshold: 4,
		L0StopWritesThreshold:       1000,
		CompactionConcurrencyRange:  func() (int, int) { return 1, 1 },
	}
	// Pebble tries a flush or compaction that failed again at once, without end.
	var errs atomic.Int32
	o.EventListener = &pebble.EventListener{
		BackgroundError: func(err error) {
			if n := errs.Add(1); isFull(err) || isCorrupt(err) || n > maxBackgroundErrors || e.fs.down.Load() {
				e.fail(err)
				select {}
			}
			log.Error("spool storage", zap.Error(err))
		},
		// The reader gets an error too, see met.
		DataCorruption: func(info pebble.DataCorruptionInfo) {
			log.Error("damage in the spool's storage", zap.String("file", info.Path), zap.String("problem", firstLine(info.Details)))
		},
	}
	o.Experimental.CompactionScheduler = compactions
	o.Experimental.ReadSamplingMultiplier = -1 // no compactions because of reads
	o.Experimental.SpanPolicyFunc = apart
	for i := range o.Levels {
		o.Levels[i].Compression = func() *sstable.CompressionProfile { return sstable.NoCompression }
	}
	return o
}

// apart has tables end where a kind of keys does. What is written of new messages has the highest ids: a table of one kind
// of it overlaps none of what waits, which is not written again then. Nor is what was deleted of messages kept by facts, or
// damaged with them.
func apart(key []byte) (policy pebble.SpanPolicy, end []byte, err error) {
	switch {
	case ofJournal(key):
		end = []byte{bookPrefix + 1}
	case len(key) > 0:
		end = []byte{key[0] + 1}
	}
	return policy, end, nil
}

// fail marks the engine as beyond use.
func (e *engine) fail(err error) {
	e.once.Do(func() {
		e.cause = err
		close(e.failed)
	})
}

// guard makes a panic of pebble a failure of the engine.
func (e *engine) guard() {
	if p := recover(); p != nil {
		if err, ok := p.(error); ok {
			e.fail(err)
		} else {
			e.fail(fmt.Errorf("%v", p))
		}
	}
}

// commit makes a change durable. When it returns errDoubt nobody knows whether
// it is.
func (e *engine) commit(c *change) error {
	c.done = make(chan error, 1)
	c.size = 32 + len(c.facts)
	for i := range c.writes {
		c.size += 32 + len(c.writes[i].key) + c.writes[i].len()
	}
	e.mu.RLock()
	if e.closed {
		e.mu.RUnlock()
		return queue.ErrClosed
	}
	select {
	case e.changes <- c:
		e.mu.RUnlock()
	case <-e.failed:
		e.mu.RUnlock()
		return e.failure()
	}
	select {
	case err := <-c.done:
		return err
	case <-e.failed:
		select {
		case err := <-c.done: // it was done before the failure
			return err
		default:
		}
		return &doubtError{e.failure(), e}
	}
}

// read runs f, which reads from the store. When the engine fails f may go on after read has returned that error: what f
// writes to is not looked at then.
func (e *engine) read(f func(db *pebble.DB) error) error {
	e.mu.RLock()
	if e.closed {
		e.mu.RUnlock()
		return queue.ErrClosed
	}
	done := make(chan error, 1)
	e.do(func() {
		defer e.mu.RUnlock()
		defer e.guard()
		done <- f(e.db)
	})
	select {
	case err := <-done:
		return e.blame(err)
	case <-e.failed:
		return e.failure()
	}
}

// blame makes an error of reading one of the engine's if it has failed meanwhile: it says nothing of what was read.
func (e *engine) blame(err error) error {
	if err == nil || errors.Is(err, pebble.ErrNotFound) {
		return err
	}
	select {
	case <-e.failed:
		return e.failure()
	default:
		return err
	}
}

// get reads one value.
func (e *engine) get(key []byte) ([]byte, error) {
	var value []byte
	err := e.read(func(db *pebble.DB) error {
		v, closer, err := db.Get(key)
		if err != nil {
			return err
		}
		value = append([]byte(nil), v...)
		return closer.Close()
	})
	if err != nil {
		return nil, err
	}
	return value, nil
}

// each calls f for the keys of a prefix from after on, until it returns false.
// The values are only valid during the call.
func (e *engine) each(prefix byte, after string, f func(id string, value []byte) bool) error {
	return e.read(func(db *pebble.DB) error {
		lower := []byte{prefix}
		if after != "" {
			lower = append(append(lower, after...), 0)
		}
		it, err := db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: []byte{prefix + 1}})
		if err != nil {
			return err
		}
		for it.First(); it.Valid(); it.Next() {
			if !f(string(it.Key()[1:]), it.Value()) {
				break
			}
		}
		if err := it.Error(); err != nil {
			it.Close()
			return err
		}
		return it.Close()
	})
}

// met looks at what reading came to: an engine that meets damage is given up, and the store rebuilt, since what is damaged is a
// block of it, with what belongs to other messages.
func (e *engine) met(err error) error {
	if isCorrupt(err) {
		e.fail(err)
		return e.failure()
	}
	return err
}

// flush has all that was committed in the tables. Of an engine that has failed pebble would end the process: it
// panics with a lock that it does not hold and unlocks.
func (e *engine) flush() error {
	select {
	case <-e.failed:
		return e.failure()
	default:
		return e.read(func(db *pebble.DB) error { return db.Flush() })
	}
}

// failure says why the engine is beyond use.
func (e *engine) failure() error {
	if isFull(e.cause) {
		return &downError{fmt.Errorf("%w: %w", queue.ErrFull, e.cause)}
	}
	return &downError{fmt.Errorf("the spool's storage failed: %w", e.cause)}
}

// close ends the engine when everything begun has ended.
func (e *engine) close() error {
	closed := make(chan error, 1)
	go func() {
		defer e.guard()
		e.mu.Lock()
		if e.closed {
			e.mu.Unlock()
			closed <- nil
			return
		}
		e.closed = true
		close(e.changes)
		e.mu.Unlock()
		<-e.done
		closed <- e.db.Close()
	}()
	select {
	case err := <-closed:
		return err
	case <-e.failed: // it cannot be closed
		return e.giveUp()
	}
}

// lastWords is how long it is waited for what an engine that failed has begun.
var lastWords = 10 * time.Second

// errBusy says that an engine that was given up may still change files.
var errBusy = errors.New("the disk does not answer: what the spool's storage has begun does not end")

// giveUp ends the use of an engine that failed.
func (e *engine) giveUp() error {
	e.fs.shut()
	select {
	case <-e.fs.still:
		return nil
	case <-time.After(lastWords):
		return &engineError{errBusy}
	}
}

// rest waits until nobody reads any more from an engine that is closed or failed.
func (e *engine) rest() error {
	ended := make(chan struct{})
	go func() {
		e.mu.Lock()
		close(ended)
		e.mu.Unlock()
	}()
	select {
	case <-ended:
		return nil
	case <-time.After(lastWords):
		return &engineError{errBusy}
	}
}

// doubtError is the error of a change that may have been stored all the same.
type doubtError struct {
	error
	eng *engine // the one that failed
}

func (d *doubtError) Unwrap() error { return d.error }

// engineLog passes pebble's errors on and keeps its chatter.
type engineLog struct {
	e   *engine
	log *zap.Logger
}

func (engineLog) Infof(string, ...any) {}

func (l engineLog) Errorf(format string, args ...any) {
	l.log.Error("spool storage", zap.String("error", fmt.Sprintf(format, args...)))
}

// Fatalf must not return: pebble would go on with a state that it knows to be wrong.
func (l engineLog) Fatalf(format string, args ...any) {
	err := fmt.Errorf(format, args...)
	for _, a := range args {
		if cause, ok := a.(error); ok {
			err = cause
		}
	}
	l.e.fail(err)
	select {}
}
