package httpsubmit

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"net/http"

	"github.com/emersion/go-smtp"
)

var errTooLarge = fault(http.StatusRequestEntityTooLarge, 552, smtp.EnhancedCode{5, 3, 4}, "Message exceeds the size limit")

// grow counts what the message will have at least.
func (s *spill) grow(n int) error {
	if s.encoded += int64(n); s.encoded > s.most {
		return errTooLarge
	}
	return nil
}

// body is a text of the document's that is to be a part of its message.
func (d *document) body(j *jsonReader) (*stretch, error) {
	part, err := d.spill.keep(func(w io.Writer) error { return j.copyText(&textWriter{d.spill, j}) })
	return &part, err
}

// textWriter takes what a text of mail may have.
type textWriter struct {
	s *spill
	j *jsonReader
}

// Write implements io.Writer.
func (w *textWriter) Write(p []byte) (int, error) {
	if bytes.IndexByte(p, 0) >= 0 { // as by SMTP
		return 0, unprocessable("%s has a NUL octet", w.j.where())
	}
	if err := w.s.grow(len(p)); err != nil {
		return 0, err
	}
	return w.s.Write(p)
}

// content is an attachment's.
func (d *document) content(j *jsonReader) (*stretch, error) {
	part, err := d.spill.keep(func(io.Writer) error {
		w := &base64Writer{s: d.spill}
		err := j.copyText(w)
		if err == nil {
			err = w.close()
		}
		if errors.Is(err, errNotBase64) {
			return j.bad("not base64 (RFC 4648 section 4), from octet %d on", w.good)
		}
		return err
	})
	return &part, err
}

// base64Writer decodes base64 as it comes. Line ends are passed over.
type base64Writer struct {
	s     *spill
	coded [4 << 10]byte
	n     int   // octets in coded
	good  int64 // octets before them
	ended bool  // by padding
}

var errNotBase64 = errors.New("not base64")

// Write implements io.Writer.
func (w *base64Writer) Write(p []byte) (int, error) {
	for _, c := range p {
		if c == '\r' || c == '\n' {
			continue
		}
		w.coded[w.n] = c
		if w.n++; w.n == len(w.coded) {
			if err := w.decode(); err != nil {
				return 0, err
			}
		}
	}
	return len(p), nil
}

// decode decodes what is there.
func (w *base64Writer) decode() error {
	coded := w.coded[:w.n]
	if w.n == 0 {
		return nil
	}
	if w.ended {
		return errNotBase64
	}
	var octets [3 << 10]byte
	n, err := base64.StdEncoding.Strict().Decode(octets[:], coded)
	if err != nil {
		if at, ok := errors.AsType[base64.CorruptInputError](err); ok {
			w.good += int64(at)
		}
		return errNotBase64
	}
	w.ended = coded[w.n-1] == '='
	w.good += int64(w.n)
	if err := w.s.grow(w.n + w.n/76*2); err != nil {
		return err
	}
	w.n = 0
	_, err = w.s.Write(octets[:n])
	return err
}

func (w *base64Writer) close() error { return w.decode() }
