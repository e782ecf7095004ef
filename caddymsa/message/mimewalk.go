package message

import (
	"bytes"
	"errors"
	"io"
	"strconv"
)

// walker goes through a message once. What is open is on a stack of its own, so depth costs
// neither recursion nor time.
type walker struct {
	lines   *lines
	limits  Limits
	visit   Visitor
	frames  []frame
	headers int // octets that the headers of parts may still have
	found   Structure
}

// frame is a container that is open.
type frame struct {
	part     int  // its index
	boundary bool // it is a multipart; else an embedded message
	children int
	ended    bool // its end boundary has come
}

func (w *walker) walk() error {
	d, err := w.part(-1)
	for err == nil && d != nil {
		w.leave(d.frame + 1)
		f := &w.frames[d.frame]
		switch {
		case f.ended:
			w.at(f.part).Defects |= AfterEnd
			d, err = w.skip(f)
		case d.end:
			f.ended = true
			if f.children == 0 {
				w.at(f.part).Defects |= NoParts
			}
			d, err = w.skip(f)
		default:
			d, err = w.part(d.frame)
		}
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	w.leave(0)
	for i := range w.found.Parts {
		w.found.Defects |= w.found.Parts[i].Defects
	}
	return nil
}

func (w *walker) at(i int) *Part { return &w.found.Parts[i] }

// leave closes all frames from the one with the number on.
func (w *walker) leave(from int) {
	for i := len(w.frames) - 1; i >= from; i-- {
		f := w.frames[i]
		if !f.boundary {
			continue
		}
		last := len(w.lines.open) - 1
		if w.lines.open[last].alike {
			w.at(f.part).Defects |= BadBoundary
		}
		w.lines.open = w.lines.open[:last]
		switch {
		case f.ended:
		case f.children == 0:
			w.at(f.part).Defects |= NoParts
		default:
			w.at(f.part).Defects |= Unclosed
		}
	}
	w.frames = w.frames[:from]
}

// part reads a part of the frame, and of the messages that begin in it, up to the next
// delimiter.
func (w *walker) part(in int) (*delimiter, error) {
	for {
		p, d, err := w.begin(in)
		if p < 0 || err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		part := w.at(p)
		switch {
		case part.Container && isMultipart(part.Type):
			w.enter(frame{part: p, boundary: true}, part.Params["boundary"])
			if d != nil || err != nil {
				return d, err
			}
			return w.skip(&w.frames[len(w.frames)-1])
		case part.Container && d == nil && err == nil:
			w.enter(frame{part: p}, "")
			in = len(w.frames) - 1
		case part.Container:
			part.Defects |= NoParts
			return d, err
		default:
			return w.leaf(p, d, err)
		}
	}
}

// enter puts a container on the stack.
func (w *walker) enter(f frame, text string) {
	if f.boundary {
		inner := boundary{text: []byte(text), others: w.at(f.part).others, frame: len(w.frames)}
		for _, outer := range w.lines.open {
			if bytes.HasPrefix(inner.text, outer.text) || bytes.HasPrefix(outer.text, inner.text) {
				w.at(f.part).Defects |= BadBoundary
			}
		}
		w.lines.open = append(w.lines.open, inner)
	}
	w.frames = append(w.frames, f)
}

// begin reads the header of a part and puts the part among those found. A delimiter or an
// error that came in the header is returned with it.
func (w *walker) begin(in int) (int, *delimiter, error) {
	p := Part{Path: "1", Parent: -1}
	embedded, digest := true, false
	if in >= 0 {
		f := &w.frames[in]
		f.children++
		parent := w.at(f.part)
		p.Parent, p.Depth = f.part, parent.Depth+1
		p.Path = parent.Path + "." + strconv.Itoa(f.children)
		embedded, digest = !f.boundary, parent.Type == "multipart/digest"
	}
	if len(w.found.Parts) >= w.limits.Parts {
		return -1, nil, &LimitError{What: "parts", Max: w.limits.Parts}
	}
	if p.Depth > w.limits.Depth {
		return -1, nil, &LimitError{What: "levels of parts", Max: w.limits.Depth}
	}
	limit := &w.headers
	if in < 0 {
		whole := MaxHeader
		limit = &whole
	}
	fields, d, err := w.header(&p, limit, in < 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return -1, nil, err
	}
	p.describe(fields, embedded, digest)
	w.found.Parts = append(w.found.Parts, p)
	w.found.MaxDepth = max(w.found.MaxDepth, p.Depth)
	return len(w.found.Parts) - 1, d, err
}

// skip reads what belongs to no part: before the first boundary and after the last.
func (w *walker) skip(f *frame) (*delimiter, error) {
	for {
		piece, _, d, err := w.lines.next()
		if d != nil || err != nil {
			return d, err
		}
		if f.ended && len(bytes.TrimSpace(piece)) > 0 {
			w.at(f.part).Defects |= AfterEnd
		}
	}
}

// leaf gives a part's body to the visitor, and reads the rest of it.
func (w *walker) leaf(p int, d *delimiter, err error) (*delimiter, error) {
	part := w.at(p)
	b := &body{part: part, lines: w.lines, decoder: decoderOf(part), delimiter: d, err: err, done: d != nil || err != nil}
	if w.visit != nil {
		if err := w.visit(part, b); err != nil {
			return nil, err
		}
	}
	for !b.done {
		b.fill()
	}
	return b.delimiter, b.err
}
