package dsn

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime/quotedprintable"
)

// original is the copy of the message that a report carries as its third part.
type original struct {
	mediaType string
	encoding  string
	content   io.Reader // nil: no copy
}

func (r *Report) original() (original, error) {
	if r.Message == nil {
		return original{}, nil
	}
	if r.Full {
		return r.whole()
	}
	return r.header()
}

// whole is the message as it is. That its octets are known before the first is
// written takes another reading.
func (r *Report) whole() (original, error) {
	o := original{mediaType: "message/rfc822", encoding: "7bit", content: r.Message}
	var buf [32 << 10]byte
	for {
		n, err := r.Message.Read(buf[:])
		if eightBit(buf[:n]) {
			o.encoding = "8bit"
			if r.UTF8 {
				o.mediaType = "message/global"
			}
			break
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return o, fmt.Errorf("read message: %w", err)
		}
	}
	if _, err := r.Message.Seek(0, io.SeekStart); err != nil {
		return o, fmt.Errorf("read message: %w", err)
	}
	return o, nil
}

// header is the message's header. Eight-bit octets in one that is not UTF-8 by
// right are encoded, so that the report needs no 8BITMIME for them.
func (r *Report) header() (original, error) {
	b := make([]byte, MaxHeader)
	n, err := io.ReadFull(r.Message, b)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return original{}, fmt.Errorf("read message: %w", err)
	}
	b = cutHeader(b[:n], err == nil)
	switch {
	case !eightBit(b):
		return original{"text/rfc822-headers", "7bit", bytes.NewReader(b)}, nil
	case r.UTF8:
		return original{"message/global-headers", "8bit", bytes.NewReader(b)}, nil
	}
	return original{"text/rfc822-headers", quotedPrintable, inASCII(b)}, nil
}

const quotedPrintable = "quoted-printable"

// inASCII encodes lines in quoted-printable.
func inASCII(b []byte) io.Reader {
	var encoded bytes.Buffer
	q := quotedprintable.NewWriter(&encoded)
	_, _ = q.Write(b) // to memory: cannot fail
	_ = q.Close()
	return &encoded
}

// cutHeader returns the header at the start of a message, without the empty line
// that ends it; where that is not in sight and there is more, what there is of
// whole lines.
func cutHeader(b []byte, more bool) []byte {
	if bytes.HasPrefix(b, []byte("\r\n")) {
		return nil
	}
	if end := bytes.Index(b, []byte("\r\n\r\n")); end >= 0 {
		return b[:end+2]
	}
	if more {
		return b[:bytes.LastIndexByte(b, '\n')+1]
	}
	return b
}
