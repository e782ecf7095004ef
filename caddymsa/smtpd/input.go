package smtpd

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync"
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
	head  [len("AUTH ")]byte // the first octets of a line whose rest was skipped
	// partial: the last line ended in a bare LF, and what follows up to the next CRLF belongs to it.
	partial bool
}

// lineError is a line that cannot be a command. The connection is in order.
type lineError string

func (e lineError) Error() string { return string(e) }

const (
	errLineTooLong lineError = "line too long"
	errEndlessLine lineError = "64 KiB without a line end"
	errBareLF      lineError = "line ends in a bare LF"
	errControl     lineError = "line has a bare CR or a NUL in it"
)

// maxSkip is how much of a line that is too long, or of a stranger's chunk, is skipped before
// giving up.
func (c *Conn) maxSkip() int64 { return orDefault(c.settings.Skip, 64<<10) }

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
		if in.first[0] == tlsHandshake && in.conn.tlsState == nil && in.conn.end.Commands == 0 {
			in.conn.end.Spoke = "TLS"
		}
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

// tlsHandshake is the first octet of a TLS connection (RFC 8446 section 5.1), and of no command.
const tlsHandshake = 0x16

func noProgress(err error) error {
	if err == nil {
		return io.ErrNoProgress
	}
	return err
}

// line reads up to a CRLF and returns what stands before it, valid until the next
// read. limit is in octets without the line end. The error is a lineError or the connection's.
//
// With a lineError what came is returned, of a line over the limit the beginning; the rest is skipped. A bare LF is refused as
// soon as it is seen, so that whoever types into openssl s_client hears why; but what follows it, up
// to the CRLF, was one line with it, and never becomes a command.
func (in *input) line(limit int) ([]byte, error) {
	for from := 0; ; {
		var p []byte
		if in.buf != nil {
			p = (*in.buf)[in.r:in.w]
		}
		if i := bytes.IndexByte(p[from:], '\n'); i >= 0 {
			text := p[:from+i]
			in.r += from + i + 1
			text, crlf := bytes.CutSuffix(text, []byte("\r"))
			tail := in.partial
			in.partial = !crlf
			switch {
			case len(text) > limit:
				return text[:limit], errLineTooLong
			case !crlf:
				return text, errBareLF
			case tail:
				from = 0
				continue
			case bytes.IndexByte(text, '\r') >= 0 || bytes.IndexByte(text, 0) >= 0:
				return text, errControl
			}
			return text, nil
		}
		if from = len(p); from > limit+len("\r") {
			return in.skipLine()
		}
		if err := in.fill(); err != nil {
			return nil, err
		}
	}
}

// skipLine drops a line that has begun, and returns its beginning.
func (in *input) skipLine() ([]byte, error) {
	head := in.head[:copy(in.head[:], (*in.buf)[in.r:in.w])]
	most := int(in.conn.maxSkip())
	for n, cr := 0, false; ; {
		p := (*in.buf)[in.r:in.w]
		i := bytes.IndexByte(p, '\n')
		if i >= 0 {
			in.r += i + 1
			p = p[:i]
		} else {
			in.r, in.w = 0, 0
		}
		if len(p) > 0 {
			n, cr = n+len(p), p[len(p)-1] == '\r'
		}
		switch {
		case n > most+1 || n > most && !cr:
			return head, errEndlessLine
		case i >= 0:
			in.partial = !cr
			return head, errLineTooLong
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
	if _, unfit := err.(lineError); err == nil || unfit {
		return false // without the allocation below
	}
	var ne net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &ne) && ne.Timeout()
}
