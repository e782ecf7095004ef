package least

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
)

// A store keeps messages. What Commit returned nil for is on stable storage.
type store interface {
	begin() (draft, error)
}

type draft interface {
	io.Writer
	commit() error
	abort()
}

// newStore knows the stores "discard", "each" and "group".
func newStore(name, dir string) (store, error) {
	switch name {
	case "discard":
		return discard{}, nil
	case "each":
		return &each{dir: dir}, nil
	case "group":
		f, err := os.Create(filepath.Join(dir, "log"))
		if err != nil {
			return nil, err
		}
		g := &group{f: f, waiting: make(chan *pending, 1024)}
		go g.write()
		return g, nil
	}
	return nil, fmt.Errorf("unknown store %q; there are discard, each and group", name)
}

// discard keeps nothing: the end of relayed mail.
type discard struct{}

func (discard) begin() (draft, error)       { return discard{}, nil }
func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) commit() error               { return nil }
func (discard) abort()                      {}

// each keeps a file for each message, synced for itself.
type each struct {
	dir string
	n   atomic.Int64
}

func (e *each) begin() (draft, error) {
	f, err := os.OpenFile(filepath.Join(e.dir, fmt.Sprint(e.n.Add(1))), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	w := writers.Get().(*bufio.Writer)
	w.Reset(f)
	return &file{w, f}, nil
}

// file gathers what lies between dots at the beginnings of lines into few writes.
type file struct {
	*bufio.Writer
	f *os.File
}

var writers = sync.Pool{New: func() any { return bufio.NewWriterSize(nil, 128<<10) }}

func (f *file) commit() error {
	err := f.Flush()
	if err == nil {
		err = f.f.Sync()
	}
	err = errors.Join(err, f.f.Close())
	writers.Put(f.Writer)
	return err
}

func (f *file) abort() {
	f.f.Close()
	os.Remove(f.f.Name())
	writers.Put(f.Writer)
}

// group keeps one log, and those that wait share a sync.
type group struct {
	f       *os.File
	waiting chan *pending
}

// pending is a message on its way into the log.
type pending struct {
	bytes.Buffer
	g    *group
	done chan error
}

var pendings = sync.Pool{New: func() any { return &pending{done: make(chan error, 1)} }}

func (g *group) begin() (draft, error) {
	p := pendings.Get().(*pending)
	p.g = g
	p.Reset()
	return p, nil
}

func (p *pending) commit() error {
	p.g.waiting <- p
	err := <-p.done
	pendings.Put(p)
	return err
}

func (p *pending) abort() { pendings.Put(p) }

// write is the log's goroutine. It ends with the process.
func (g *group) write() {
	var batch []*pending
	var joined []byte
	for p := range g.waiting {
		batch = append(batch[:0], p)
		joined = append(joined[:0], p.Bytes()...)
		for more := true; more; {
			select {
			case p := <-g.waiting:
				batch = append(batch, p)
				joined = append(joined, p.Bytes()...)
			default:
				more = false
			}
		}
		_, err := g.f.Write(joined)
		if err == nil {
			err = datasync(g.f)
		}
		for _, p := range batch {
			p.done <- err
		}
	}
}
