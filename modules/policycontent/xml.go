package policycontent

import (
	"errors"
	"fmt"
	"io"

	"github.com/caddy-msa/caddy-msa/caddymsa/message"
)

// notXML says why a document is not well-formed.
type notXML struct{ why string }

func (e *notXML) Error() string { return e.why }

func notWellFormed(format string, args ...any) error { return &notXML{fmt.Sprintf(format, args...)} }

// checkXML reads a part's body as an XML document.
func (c *Content) checkXML(p *message.Part, body io.Reader) error {
	err := wellFormed(body, p.Params["charset"])
	if bad, ok := errors.AsType[*notXML](err); ok {
		return c.malformed(ruleXML, "%s is not well-formed XML: %s", c.part(p), short(bad.why))
	}
	return err
}

// wellFormed reads an XML 1.0 document. label is the charset that is said outside of it, if any. A
// *notXML says what is wrong; any other error is r's. Neither time nor memory depends on what the
// document is, but for time on its size.
//
// encoding/xml is not used: it takes much that is not well-formed, such as attributes without
// space between them, references to surrogates and any XML declaration.
func wellFormed(r io.Reader, label string) error {
	source := &remember{r: r}
	text, charset, err := decoded(source, label)
	if err == nil {
		err = newXMLDocument(text, charset).read()
	}
	if source.err != nil && !errors.Is(source.err, io.EOF) {
		return source.err
	}
	return err
}

// remember keeps the error of a reader, which tells it from those of who reads.
type remember struct {
	r   io.Reader
	err error
}

func (r *remember) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if err != nil {
		r.err = err
	}
	return n, err
}
