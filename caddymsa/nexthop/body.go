package nexthop

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"
)

// block is how much of a message is read and written at once.
const block = 32 << 10

// buffer serves one message. A dot is added to two octets at worst, and the end of the message has
// to fit behind.
type buffer struct {
	in  [block]byte
	out [block*3/2 + 16]byte
}

var buffers = sync.Pool{New: func() any { return new(buffer) }}

const endOfData = ".\r\n"

// readError is a message that cannot be read: our fault, not the next hop's.
type readError struct{ error }

func (e readError) Unwrap() error { return e.error }

// dotted writes a message after DATA, with a dot added to lines that begin with one (RFC 5321 section
// 4.5.2), all but its end, which is returned with the end of data behind.
//
// A line begins behind LF here, even a bare one, which the spool has none of: a receiver that takes it for
// a line end must not find a dot there.
func (b *buffer) dotted(message io.Reader, write func([]byte) error) (end []byte, err error) {
	start, ended := true, true // of a line, the message's end taken for one
	cr := false                // the last block ended with one
	for {
		n, err := fill(message, b.in[:])
		if err != nil && err != io.EOF {
			return nil, readError{fmt.Errorf("read message: %w", err)}
		}
		now := b.stuff(b.in[:n], start)
		if n > 0 {
			start = b.in[n-1] == '\n'
			ended = start && (n > 1 && b.in[n-2] == '\r' || n == 1 && cr)
			cr = b.in[n-1] == '\r'
		}
		if err == io.EOF {
			end = append(b.out[:0], now...)
			if !ended {
				end = append(end, "\r\n"...)
			}
			return append(end, endOfData...), nil
		}
		if err := write(now); err != nil {
			return nil, err
		}
	}
}

// fill reads until p is full or an error comes.
func fill(r io.Reader, p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var m int
		m, err = r.Read(p[n:])
		n += m
	}
	if n == len(p) && err == io.EOF {
		err = nil // comes again
	}
	return n, err
}

// stuff returns p with its dots doubled: p itself if there are none to double.
func (b *buffer) stuff(p []byte, start bool) []byte {
	if start && len(p) > 0 && p[0] == '.' {
		b.out[0] = '.'
		return b.stuffTo(1, p)
	}
	if bytes.Contains(p, lineDot) {
		return b.stuffTo(0, p)
	}
	return p
}

var lineDot = []byte("\n.")

func (b *buffer) stuffTo(n int, p []byte) []byte {
	for {
		i := bytes.Index(p, lineDot)
		if i < 0 {
			return b.out[:n+copy(b.out[n:], p)]
		}
		n += copy(b.out[n:], p[:i+1])
		b.out[n] = '.'
		n++
		p = p[i+1:]
	}
}

var errNoRewind = errors.New("cannot go back to the start")

// scan reports whether there are octets over 127 in the header and in the
// body, and goes back to the start.
func scan(message io.ReadSeeker) (header, body bool, err error) {
	b := buffers.Get().(*buffer)
	defer buffers.Put(b)
	inBody, start := false, true // start: of a line, CR not counted
	for !body {
		n, err := fill(message, b.in[:])
		if err != nil && err != io.EOF {
			return false, false, err
		}
		for _, c := range b.in[:n] {
			switch {
			case c >= 0x80 && inBody:
				body = true
			case c >= 0x80:
				header = true
			}
			if !inBody {
				inBody = c == '\n' && start
				start = c == '\n' || start && c == '\r'
			}
		}
		if err == io.EOF {
			break
		}
	}
	if _, err := message.Seek(0, io.SeekStart); err != nil {
		return false, false, fmt.Errorf("%w: %w", errNoRewind, err)
	}
	return header, body, nil
}
