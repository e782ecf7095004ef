package webcall

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/textproto"
)

// JSON is a body of that text.
func JSON(text []byte) Body {
	return Body{Type: "application/json", Size: int64(len(text)), Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(text)), nil }}
}

// Form is a body of two parts (multipart/form-data): what is called name, in JSON, and message.eml, which open
// opens and which has so many octets.
func Form[R io.ReadCloser](name string, text []byte, size int64, open func() (R, error)) (Body, error) {
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	part, err := w.CreatePart(textproto.MIMEHeader{"Content-Disposition": {`form-data; name="` + name + `"`}, "Content-Type": {"application/json"}})
	if err == nil {
		_, err = part.Write(text)
	}
	if err == nil {
		_, err = w.CreatePart(textproto.MIMEHeader{"Content-Disposition": {`form-data; name="message"; filename="message.eml"`}, "Content-Type": {"message/rfc822"}})
	}
	if err != nil {
		return Body{}, err
	}
	first := bytes.Clone(b.Bytes())
	b.Reset()
	if err := w.Close(); err != nil {
		return Body{}, err
	}
	last := b.Bytes()
	return Body{Type: w.FormDataContentType(), Size: int64(len(first)+len(last)) + size, Open: func() (io.ReadCloser, error) {
		m, err := Message(open)()
		if err != nil {
			return nil, err
		}
		return readCloser{io.MultiReader(bytes.NewReader(first), m, bytes.NewReader(last)), m}, nil
	}}, nil
}

// readCloser reads from one and closes the other.
type readCloser struct {
	io.Reader
	io.Closer
}

// ErrMessage marks errors of reading the message, which are not the service's.
var ErrMessage = errors.New("read message")

// Message opens a message whose errors are marked with ErrMessage.
func Message[R io.ReadCloser](open func() (R, error)) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) {
		m, err := open()
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrMessage, err)
		}
		return readCloser{messageReader{m}, m}, nil
	}
}

type messageReader struct{ r io.Reader }

func (m messageReader) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	if err != nil && err != io.EOF {
		err = fmt.Errorf("%w: %w", ErrMessage, err)
	}
	return n, err
}
