package message

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
)

// lineBuffer is what is held of a message: longer lines come in pieces.
const lineBuffer = 16 << 10

// lines gives a message line by line, and finds the boundaries among them. All multiparts
// that are open are looked for at once: a multipart.Reader in another for each level would copy and
// search every octet as often as the parts are nested.
type lines struct {
	br    *bufio.Reader
	start bool // the next piece begins a line
	open  []boundary
	err   error // sticky; io.EOF at the end
	found delimiter
}

// boundary is one that may come.
type boundary struct {
	text   []byte
	others []string // what some readers take for it
	frame  int      // whose it is
	alike  bool     // there was a line that some readers may take for it
}

// delimiter is a line that ends a part.
type delimiter struct {
	frame int
	end   bool // it is the end boundary
}

func newLines(ctx context.Context, r io.Reader) *lines {
	return &lines{br: bufio.NewReaderSize(UntilDone(ctx, r), lineBuffer), start: true}
}

// UntilDone reads from r for as long as ctx lasts, so that who reads a whole message heeds it.
func UntilDone(ctx context.Context, r io.Reader) io.Reader { return &untilDone{ctx: ctx, r: r} }

type untilDone struct {
	ctx context.Context
	r   io.Reader
}

func (u *untilDone) Read(p []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, context.Cause(u.ctx)
	}
	return u.r.Read(p)
}

// next returns a line or a piece of one, good until the next call; or the delimiter that the
// line is. The error is io.EOF after the last line.
func (l *lines) next() (piece []byte, first bool, d *delimiter, err error) {
	if l.err != nil {
		return nil, false, nil, l.err
	}
	piece, err = l.br.ReadSlice('\n')
	first = l.start
	switch {
	case err == nil:
		l.start = true
	case errors.Is(err, bufio.ErrBufferFull):
		l.start = false
	default:
		l.err, l.start = err, true
		if !errors.Is(err, io.EOF) || len(piece) == 0 {
			return nil, false, nil, err
		}
	}
	if first && len(piece) > 1 && piece[0] == '-' && piece[1] == '-' {
		if d := l.delimiter(piece[2:], l.start); d != nil {
			return nil, true, d, nil
		}
	}
	return piece, first, nil, nil
}

// delimiter tells which boundary a line is (RFC 2046 section 5.1.1), white space behind it
// allowed. The outermost comes first, as it ends whatever is in it.
func (l *lines) delimiter(rest []byte, whole bool) *delimiter {
	for i := range l.open {
		b := &l.open[i]
		for _, other := range b.others {
			b.alike = b.alike || bytes.HasPrefix(rest, []byte(other))
		}
		after, ok := bytes.CutPrefix(rest, b.text)
		if !ok {
			continue
		}
		after = bytes.TrimRight(after, " \t\r\n")
		end := string(after) == "--"
		if whole && (end || len(after) == 0) {
			l.found = delimiter{frame: b.frame, end: end}
			return &l.found
		}
		b.alike = true
	}
	return nil
}
