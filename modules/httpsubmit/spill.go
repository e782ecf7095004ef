package httpsubmit

import (
	"io"
	"net/http"

	"github.com/emersion/go-smtp"
	"golang.org/x/sync/semaphore"

	"github.com/caddy-msa/caddy-msa/caddymsa/running"
)

// inMemory bounds what all documents together hold, beyond the little that each has anyway.
const inMemory = 64 << 20

var memory = semaphore.NewWeighted(inMemory)

// memoryStep is what each document has, and then asks for at a time.
const memoryStep = 64 << 10

// budget is what of a document is held in memory.
type budget struct {
	most       int64
	held, have int64
}

// hold asks for room.
func (b *budget) hold(n int) error {
	b.held += int64(n)
	if b.held > b.most {
		return fault(http.StatusRequestEntityTooLarge, 552, smtp.EnhancedCode{5, 3, 4}, "The document has more than %d octets beside text, html and the content of attachments", b.most)
	}
	for b.held > b.have+memoryStep {
		if !memory.TryAcquire(memoryStep) {
			return errBusy
		}
		b.have += memoryStep
	}
	return nil
}

func (b *budget) release() {
	memory.Release(b.have)
	b.have = 0
}

// spillFrom is how many octets of a document's texts are kept in memory.
const spillFrom = 64 << 10

// spill keeps the texts and attachments of a document until its message can begin, which is when all of the document
// is known: in memory while they are few, and then where messages are written.
type spill struct {
	open func() (running.Scratch, error)
	// most is how large the message may be.
	most int64

	buf     []byte
	scratch running.Scratch
	size    int64
	encoded int64 // octets that the message will have at least

	reader io.ReadCloser // of scratch
	at     int64         // where that is
}

// stretch is a part of a spill.
type stretch struct{ from, to int64 }

// Write implements io.Writer.
func (s *spill) Write(p []byte) (int, error) {
	if s.scratch == nil && len(s.buf)+len(p) > spillFrom {
		scratch, err := s.open()
		if err != nil {
			return 0, err
		}
		s.scratch = scratch
		if _, err := scratch.Write(s.buf); err != nil {
			return 0, err
		}
		s.buf = nil
	}
	s.size += int64(len(p))
	if s.scratch == nil {
		s.buf = append(s.buf, p...)
		return len(p), nil
	}
	return s.scratch.Write(p)
}

// keep has read write a text.
func (s *spill) keep(read func(io.Writer) error) (stretch, error) {
	from := s.size
	err := read(s)
	return stretch{from, s.size}, err
}

// copy writes a stretch. In the order in which they were kept, what is kept is read once.
func (s *spill) copy(w io.Writer, part stretch) error {
	if s.scratch == nil {
		_, err := w.Write(s.buf[part.from:part.to])
		return err
	}
	if s.reader == nil || s.at > part.from {
		s.closeReader()
		reader, err := s.scratch.Reader()
		if err != nil {
			return err
		}
		s.reader, s.at = reader, 0
	}
	if err := s.read(io.Discard, part.from-s.at); err != nil {
		return err
	}
	return s.read(w, part.to-part.from)
}

// read copies the next n octets.
func (s *spill) read(w io.Writer, n int64) error {
	block := blocks.Get().(*[blockSize]byte)
	defer blocks.Put(block)
	copied, err := io.CopyBuffer(struct{ io.Writer }{w}, io.LimitReader(s.reader, n), block[:])
	s.at += copied
	if err == nil && copied < n {
		err = io.ErrUnexpectedEOF
	}
	return err
}

func (s *spill) closeReader() {
	if s.reader != nil {
		_ = s.reader.Close() // it was read only
		s.reader = nil
	}
}

// discard leaves nothing of it.
func (s *spill) discard() {
	s.closeReader()
	if s.scratch != nil {
		s.scratch.Abort()
	}
}
