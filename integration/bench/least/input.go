package least

import (
	"bytes"
	"errors"
	"io"
	"sync"
)

const (
	lineSpace = 4 << 10  // of a session's buffer between messages
	textSpace = 64 << 10 // of one while a message comes
)

var (
	errLongLine = errors.New("line too long")
	spaces      = sync.Pool{New: func() any { b := make([]byte, textSpace); return &b }}
)

// input reads lines, and messages up to the dot.
type input struct {
	src  io.Reader
	buf  []byte
	r, w int // what is read and not used yet is buf[r:w]
}

func (in *input) fill() error {
	if in.r > 0 {
		in.w = copy(in.buf, in.buf[in.r:in.w])
		in.r = 0
	}
	if in.w == len(in.buf) {
		return errLongLine
	}
	n, err := in.src.Read(in.buf[in.w:])
	in.w += n
	if n > 0 {
		return nil
	}
	return err
}

// line returns the next line without its end. It is valid until the next call.
func (in *input) line() ([]byte, error) {
	for seen := 0; ; {
		if i := bytes.IndexByte(in.buf[in.r+seen:in.w], '\n'); i >= 0 {
			line := in.buf[in.r : in.r+seen+i]
			in.r += seen + i + 1
			return bytes.TrimSuffix(line, []byte("\r")), nil
		}
		seen = in.w - in.r
		if err := in.fill(); err != nil {
			return nil, err
		}
	}
}

// text copies a message to dst, with the doubled dots single again. Only CRLF
// ends a line.
func (in *input) text(dst io.Writer) error {
	small, space := in.buf, spaces.Get().(*[]byte)
	in.w = copy(*space, in.buf[in.r:in.w])
	in.r, in.buf = 0, *space
	err := in.copyText(dst)
	if in.w-in.r > len(small) {
		err = errors.Join(err, errLongLine) // far too much was sent behind the dot
		in.r = in.w
	}
	in.w = copy(small, in.buf[in.r:in.w])
	in.r, in.buf = 0, small
	spaces.Put(space)
	return err
}

func (in *input) copyText(dst io.Writer) error {
	begin := true // whether buf[r] begins a line
	for {
		have := in.buf[in.r:in.w]
		if begin {
			if len(have) < 3 {
				if err := in.fill(); err != nil {
					return err
				}
				continue
			}
			if have[0] == '.' {
				in.r++
				if have[1] == '\r' && have[2] == '\n' {
					in.r += 2
					return nil
				}
				have = have[1:]
			}
			begin = false
		}
		n := len(have) - 2 // the last two may be CRLF before a dot
		if i := bytes.Index(have, []byte("\r\n.")); i >= 0 {
			n, begin = i+2, true
		}
		if n > 0 {
			if _, err := dst.Write(have[:n]); err != nil {
				return err
			}
			in.r += n
		}
		if !begin {
			if err := in.fill(); err != nil {
				return err
			}
		}
	}
}
