package message

import (
	"errors"
	"io"
)

// body reads a part's body behind its transfer encoding.
type body struct {
	part      *Part
	lines     *lines
	decoder   decoder
	held      []byte // the last line end, which is the boundary's if one follows (RFC 2046 section 5.1.1)
	decoded   []byte // what the last line gave
	ready     []byte // the rest of it, not yet read
	done      bool   // the part is at its end
	delimiter *delimiter
	err       error
}

// Read gives decoded octets. io.EOF is the part's end, other errors are of reading the message.
func (b *body) Read(p []byte) (int, error) {
	for len(b.ready) == 0 {
		if b.done {
			if b.err != nil {
				return 0, b.err
			}
			return 0, io.EOF
		}
		b.fill()
	}
	n := copy(p, b.ready)
	b.ready = b.ready[n:]
	return n, nil
}

// fill decodes the next line of the body, or a piece of one.
func (b *body) fill() {
	piece, _, d, err := b.lines.next()
	b.decoded = b.decoded[:0]
	switch {
	case d != nil:
		b.delimiter, b.done = d, true
		b.decoded = b.decoder.end(b.decoded, b.part)
	case errors.Is(err, io.EOF):
		b.err, b.done = err, true
		b.add(b.held)
		b.decoded = b.decoder.end(b.decoded, b.part)
	case err != nil:
		b.err, b.done = err, true
	default:
		text := trimLineEnd(piece)
		b.add(b.held)
		b.add(text)
		b.held = append(b.held[:0], piece[len(text):]...)
	}
	b.ready = b.decoded
	b.part.DecodedSize += int64(len(b.decoded))
}

func (b *body) add(raw []byte) {
	if len(raw) > 0 {
		b.part.Size += int64(len(raw))
		b.decoded = b.decoder.decode(b.decoded, raw, b.part)
	}
}

// trimLineEnd cuts CRLF or LF off a line.
func trimLineEnd(line []byte) []byte {
	n := len(line)
	if n == 0 || line[n-1] != '\n' {
		return line
	}
	if n--; n > 0 && line[n-1] == '\r' {
		n--
	}
	return line[:n]
}
