package spoolfile

import "sync/atomic"

// idleReaders is how many goroutines wait for something to read.
const idleReaders = 4

// readers read from an engine apart from who asks, who is let go when a read never ends. Some are
// kept for the next read: a new goroutine begins with a stack that pebble's calls outgrow at once.
type readers struct {
	work chan func()
	idle atomic.Int32
}

// do has f run by a reader that is idle, or a new one.
func (e *engine) do(f func()) {
	select {
	case e.readers.work <- f:
	default:
		go e.reader(f)
	}
}

func (e *engine) reader(f func()) {
	for {
		f()
		if e.readers.idle.Add(1) > idleReaders {
			e.readers.idle.Add(-1)
			return
		}
		select {
		case f = <-e.readers.work:
			e.readers.idle.Add(-1)
		case <-e.done:
			return
		case <-e.failed:
			return
		}
	}
}
