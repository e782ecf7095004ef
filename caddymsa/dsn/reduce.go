package dsn

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/textproto"
	"strings"
)

// ErrSmallest says that a notification cannot be made smaller.
var ErrSmallest = errors.New("the notification is the text alone already")

// maxPart bounds the parts of a notification that are read as a whole: text, status, a header. They are our own.
const maxPart = 8 << 20

// Reduce writes a notification of Write's anew for a server that refused it for its size, its 8-bit octets or its UTF-8: with the message's header in
// place of all of it, or else the text for people alone. All of it is 7-bit then, but for an address that cannot be. A notification that is
// text alone gives ErrSmallest.
func Reduce(w io.Writer, notification io.Reader) (Body, error) {
	in := bufio.NewReader(notification)
	header, err := readHeader(in)
	if err != nil {
		return Body{}, fmt.Errorf("read notification: %w", err)
	}
	mediaType, params, _ := mime.ParseMediaType(header.get("Content-Type"))
	if mediaType != "multipart/report" {
		return Body{}, ErrSmallest
	}
	text, status, copied, err := readReport(multipart.NewReader(in, params["boundary"]))
	if err != nil {
		return Body{}, fmt.Errorf("read notification: %w", err)
	}
	out := bufio.NewWriter(w)
	header.write(out)
	if copied.content == nil {
		writePart(text, func(h textproto.MIMEHeader) io.Writer {
			for _, name := range []string{"Content-Type", "Content-Transfer-Encoding"} {
				if v := h.Get(name); v != "" {
					fmt.Fprintf(out, "%s: %s\r\n", name, v)
				}
			}
			_, _ = out.WriteString("\r\n")
			return out
		})
	} else {
		m := multipart.NewWriter(out)
		fmt.Fprintf(out, "Content-Type: multipart/report; report-type=%s;\r\n\tboundary=\"%s\"\r\n\r\n", params["report-type"], m.Boundary())
		_, _ = out.WriteString("This is a delivery status notification in MIME format.\r\n")
		for _, p := range []original{text, status, copied} {
			writePart(p, func(h textproto.MIMEHeader) io.Writer {
				w, err := m.CreatePart(h)
				if err != nil { // out, whose errors Flush gives
					return io.Discard
				}
				return w
			})
		}
		_ = m.Close()
	}
	return Body{UTF8Header: !isASCII(header.text)}, out.Flush()
}

// readReport reads the parts. What is copied of the message is its header where all of it was, and nothing where that
// was the header.
func readReport(m *multipart.Reader) (text, status, copied original, err error) {
	for _, into := range []*original{&text, &status, &copied} {
		p, err := m.NextRawPart()
		if err == io.EOF && into == &copied {
			break
		}
		if err != nil {
			return text, status, copied, err
		}
		kind, _, _ := mime.ParseMediaType(p.Header.Get("Content-Type"))
		content := io.Reader(p)
		if strings.EqualFold(p.Header.Get("Content-Transfer-Encoding"), quotedPrintable) {
			content = quotedprintable.NewReader(p)
		}
		if into == &copied {
			if kind == "message/rfc822" || kind == "message/global" {
				copied, err = headerOf(content)
			}
			return text, status, copied, err
		}
		b, err := io.ReadAll(io.LimitReader(content, maxPart))
		if err != nil {
			return text, status, copied, err
		}
		*into = original{mediaType: p.Header.Get("Content-Type"), content: bytes.NewReader(b)}
	}
	return text, status, copied, nil
}

// headerOf is a copied message's header.
func headerOf(message io.Reader) (original, error) {
	b := make([]byte, MaxHeader)
	n, err := io.ReadFull(message, b)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return original{}, err
	}
	return original{mediaType: "text/rfc822-headers", content: bytes.NewReader(cutHeader(b[:n], err == nil))}, nil
}

// writePart writes a part in 7 bits.
func writePart(p original, open func(textproto.MIMEHeader) io.Writer) {
	h := textproto.MIMEHeader{"Content-Type": {p.mediaType}}
	b, _ := io.ReadAll(p.content) // from memory
	if !eightBit(b) {
		_, _ = open(h).Write(b)
		return
	}
	h.Set("Content-Transfer-Encoding", quotedPrintable)
	q := quotedprintable.NewWriter(open(h))
	_, _ = q.Write(b)
	_ = q.Close()
}

// rawHeader is a header as it stands.
type rawHeader struct {
	text   string // without the fields of MIME
	fields textproto.MIMEHeader
}

func (h rawHeader) get(name string) string { return h.fields.Get(name) }

func (h rawHeader) write(w *bufio.Writer) { _, _ = w.WriteString(h.text) }

// readHeader reads a header with its empty line.
func readHeader(in *bufio.Reader) (rawHeader, error) {
	var kept strings.Builder
	var all bytes.Buffer
	drop := false
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return rawHeader{}, err
		}
		if all.WriteString(line); all.Len() > maxPart {
			return rawHeader{}, errors.New("its header is too large")
		}
		line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r") // as textproto sees it
		if line == "" {
			break
		}
		if line[0] != ' ' && line[0] != '\t' {
			drop = len(line) > 8 && strings.EqualFold(line[:8], "Content-")
		}
		if !drop {
			kept.WriteString(line + "\r\n")
		}
	}
	fields, err := textproto.NewReader(bufio.NewReader(&all)).ReadMIMEHeader()
	return rawHeader{kept.String(), fields}, err
}
