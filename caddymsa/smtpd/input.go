package smtpd

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// inputSize is a connection's input buffer. The longest line that is read whole, an
// AUTH response, fits; message bodies stream through it.
const inputSize = 32 << 10

var inputBuffers = sync.Pool{New: func() any { b := make([]byte, inputSize); return &b }}

// input reads lines and octets. It holds a buffer only while there is something in
// it, so a client that says nothing costs none.
type input struct {
	conn  *Conn
	buf   *[]byte
	r, w  int
	first [1]byte
}

var (
	errLineTooLong = errors.New("line too long")
	errEndlessLine = errors.New("64 KiB without a line end")
	errBareLF      = errors.New("line ends in a bare LF")
)

// maxSkip is how much of a line that is too long is skipped before giving up.
const maxSkip = 64 << 10

func (in *input) buffered() int { return in.w - in.r }

// release gives the buffer back, with whatever is in it.
func (in *input) release() {
	if in.buf != nil {
		inputBuffers.Put(in.buf)
		in.buf, in.r, in.w = nil, 0, 0
	}
}

// fill reads more, at least one octet. Replies that are due leave first: the client may be
// waiting for them (RFC 2920 section 3.2).
func (in *input) fill() error {
	if err := in.conn.out.flush(); err != nil {
		return err
	}
	nc := in.conn.nc
	if in.buf == nil { // wait without a buffer
		n, err := nc.Read(in.first[:])
		if n == 0 {
			return noProgress(err)
		}
		in.buf = inputBuffers.Get().(*[]byte)
		(*in.buf)[0] = in.first[0]
		in.r, in.w = 0, 1
		return nil // whoever wants more asks again: TLS has the rest of the record at hand
	}
	if in.r > 0 {
		in.w = copy(*in.buf, (*in.buf)[in.r:in.w])
		in.r = 0
	}
	n, err := nc.Read((*in.buf)[in.w:])
	in.w += n
	if n == 0 {
		return noProgress(err)
	}
	return nil
}

func noProgress(err error) error {
	if err == nil {
		return io.ErrNoProgress
	}
	return err
}

// line reads up to a line end and returns what stands before it, valid until the next
// read. Of a line longer than limit it returns the beginning, skips the rest and
// says errLineTooLong or errEndlessLine. A line that ends in a bare LF is returned with errBareLF.
func (in *input) line(limit int) ([]byte, error) {
	for from := 0; ; {
		if in.buffered() > from {
			if i := bytes.IndexByte((*in.buf)[in.r+from:in.w], '\n'); i >= 0 {
				line := (*in.buf)[in.r : in.r+from+i]
				in.r += from + i + 1
				text, ok := bytes.CutSuffix(line, []byte("\r"))
				switch {
				case len(line) > limit:
					return line[:limit], errLineTooLong
				case !ok:
					return line, errBareLF
				}
				return text, nil
			}
			from = in.buffered()
		}
		if from > limit {
			return in.skipLine(limit)
		}
		if err := in.fill(); err != nil {
			return nil, err
		}
	}
}

// skipLine drops what is left of a line of which more than limit octets are in the buffer.
func (in *input) skipLine(limit int) ([]byte, error) {
	head := bytes.Clone((*in.buf)[in.r : in.r+min(limit, 16)])
	for skipped := 0; ; {
		if i := bytes.IndexByte((*in.buf)[in.r:in.w], '\n'); i >= 0 {
			in.r += i + 1
			return head, errLineTooLong
		}
		skipped += in.buffered()
		in.r, in.w = 0, 0
		if skipped >= maxSkip {
			return head, errEndlessLine
		}
		if err := in.fill(); err != nil {
			return nil, err
		}
	}
}

// take returns between 1 and n octets, valid until the next read.
func (in *input) take(n int64) ([]byte, error) {
	if in.buffered() == 0 {
		if in.buf != nil {
			in.r, in.w = 0, 0
		}
		if err := in.fill(); err != nil {
			return nil, err
		}
	}
	p := (*in.buf)[in.r:in.w]
	if int64(len(p)) > n {
		p = p[:n]
	}
	in.r += len(p)
	return p, nil
}

// discard drops up to n octets.
func (in *input) discard(n int64) error {
	for n > 0 {
		p, err := in.take(n)
		if err != nil {
			return err
		}
		n -= int64(len(p))
	}
	return nil
}

// isTimeout tells a deadline's passing from a broken connection.
func isTimeout(err error) bool {
	var ne net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &ne) && ne.Timeout()
}

// waitUntil sets the deadline of the reads to come.
func (c *Conn) waitUntil(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.nc.SetReadDeadline(t)
}
