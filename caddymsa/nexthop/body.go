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

// buffer serves one message. A dot is added to two octets at worst, and the end
// of the message has to fit behind.
type buffer struct {
	in  [block]byte
	out [block*3/2 + 16]byte
}

var buffers = sync.Pool{New: func() any { return new(buffer) }}

var crlf = []byte("\r\n")

// writeBody writes a message after DATA, with a dot added to lines that begin
// with one (RFC 5321, section 4.5.2), and without the CRLF at its end: the
// client writes that when its data writer is closed, having seen nothing of the
// message. The last block is held for that moment.
//
// textproto's dot writer, which the client would use, goes octet by octet. A line
// begins behind LF here, even a bare one, which the spool has none of: a receiver
// that takes it for a line end must not find a dot there.
func writeBody(c *conn, message io.Reader, b *buffer) error {
	start := true // of a line
	have := 0
	for {
		n, err := fill(message, b.in[have:])
		have += n
		if err != nil && err != io.EOF {
			return fmt.Errorf("read: %w", err)
		}
		if err == io.EOF {
			last := bytes.TrimSuffix(b.in[:have], crlf)
			c.hold(b.stuff(last, start))
			return nil
		}
		// The last two octets may be the CRLF at the end.
		now := b.in[:have-len(crlf)]
		if _, err := c.Write(b.stuff(now, start)); err != nil {
			return err
		}
		start = now[len(now)-1] == '\n'
		have = copy(b.in[:], b.in[have-len(crlf):have])
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
