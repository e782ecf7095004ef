package logbuffered

import (
	"errors"
	"io"
	"sync"
	"time"
)

// writer collects what is written. The line that does not fit any more has the others written, and what is left is
// written at intervals; nothing is timed while there is nothing.
type writer struct {
	to    io.WriteCloser
	flush time.Duration

	mu      sync.Mutex // of the fields below; lines are added while others are being written
	waiting []byte
	timer   *time.Timer
	failed  error // of a write that nobody waited for
	closed  bool

	writing sync.Mutex // whoever writes, so that lines keep their order; taken before mu
	spare   []byte
}

func newWriter(to io.WriteCloser, flush time.Duration) *writer { return &writer{to: to, flush: flush} }

// Write takes a line. An error of the writer behind is of lines before, at intervals too: else nobody would hear of a disk that is full
// before there are enough lines to be written at once.
func (w *writer) Write(line []byte) (int, error) {
	w.mu.Lock()
	if w.closed { // the last lines of the process come after its logs are closed
		w.mu.Unlock()
		return w.to.Write(line)
	}
	w.waiting = append(w.waiting, line...)
	full := len(w.waiting) >= bufferSize
	if !full && w.timer == nil {
		w.timer = time.AfterFunc(w.flush, w.onTime)
	}
	err := w.failed
	w.failed = nil
	w.mu.Unlock()
	if full {
		err = errors.Join(err, w.Sync())
	}
	return len(line), err
}

func (w *writer) onTime() {
	if err := w.Sync(); err != nil {
		w.mu.Lock()
		w.failed = err
		w.mu.Unlock()
	}
}

// Sync writes what waits.
func (w *writer) Sync() error {
	w.writing.Lock()
	defer w.writing.Unlock()
	w.mu.Lock()
	lines := w.waiting
	w.waiting, w.spare = w.spare[:0], nil
	if w.timer != nil {
		w.timer.Stop()
		w.timer = nil
	}
	w.mu.Unlock()
	var err error
	if len(lines) > 0 {
		_, err = w.to.Write(lines)
	}
	if cap(lines) <= 2*bufferSize {
		w.mu.Lock()
		w.spare = lines
		w.mu.Unlock()
	}
	return err
}

// Close writes what waits and closes the writer behind.
func (w *writer) Close() error {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	err := w.Sync()
	if closed := w.to.Close(); err == nil {
		err = closed
	}
	return err
}
