package httpsubmit

import (
	"context"
	"io"
	"net/http"

	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa/running"
	"github.com/caddy-msa/caddy-msa/caddymsa/smtpd"
)

// document is a message as JSON.
type document struct {
	from        *mailbox
	to, cc, bcc mailboxes
	replyTo     mailboxes
	subject     string
	text, html  *stretch // nil: there is none
	attachments []attachment
	headers     []headerValue

	spill *spill
}

// attachment is one.
type attachment struct {
	filename string
	kind     string // a media type; application/octet-stream if it is left out
	content  *stretch
	id       string // by which the HTML shows it, as in <img src="cid:...">
}

// headerValue is a further header field.
type headerValue struct{ name, value string }

var errBusy = &webError{http.StatusServiceUnavailable,
	&smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 2}, Message: "Too many messages come as JSON, try again later"}, tryAgain}

// What a document takes in memory for each of these, beside their texts.
const (
	mailboxWeight    = 128
	attachmentWeight = 1 << 10
	headerWeight     = 64 // the name of a field, and each value
)

// document takes a message as JSON.
func (h *Submit) document(ctx context.Context, s running.Submitter, e *smtpd.Envelope, body *bodyReader, once *running.Once) (smtpd.Reply, error) {
	most := s.Bounds().Size
	if body.r.ContentLength > longest(most) {
		return smtpd.Reply{}, errTooLarge
	}
	held := &budget{most: h.JSONSize}
	defer held.release()
	d := &document{spill: &spill{most: most, open: func() (running.Scratch, error) { return s.Scratch(ctx) }}}
	defer d.spill.discard()
	if err := d.read(newJSONReader(&atMost{body, longest(most)}, held.hold)); err != nil {
		return smtpd.Reply{}, body.blame(err)
	}
	if limit := s.Bounds().Header; limit > 0 && d.headerOctets() > limit {
		return smtpd.Reply{}, errHeaderSize
	}
	m, err := d.prepare()
	if err != nil {
		return smtpd.Reply{}, err
	}
	e.Sender, e.Recipients, e.UTF8 = d.from.Exact, d.recipients(), e.UTF8 || m.utf8
	return send(context.WithoutCancel(ctx), s, e, once, body, func(d running.Draft) error { return m.write(d) }) // all of it is here
}

// longest is how many octets the JSON of a message may have: it has about as many as the message. The rest is
// for escapes and white space.
func longest(message int64) int64 { return 2*message + 1<<20 }

// atMost reads so many octets.
type atMost struct {
	r    io.Reader
	left int64
}

// Read implements io.Reader.
func (a *atMost) Read(p []byte) (int, error) {
	n, err := a.r.Read(p)
	if a.left -= int64(n); a.left < 0 {
		return 0, errTooLarge
	}
	return n, err
}

// read reads the document to the end of the request. What is not known is refused: a misspelled bcc must not get lost.
func (d *document) read(j *jsonReader) error {
	list := func(m *mailboxes) func() error { return func() error { return m.read(j) } }
	err := j.object(map[string]func() error{
		"from": func() (err error) {
			d.from, err = readMailbox(j)
			return err
		},
		"to":       list(&d.to),
		"cc":       list(&d.cc),
		"bcc":      list(&d.bcc),
		"reply_to": list(&d.replyTo),
		"subject":  j.into(&d.subject),
		"text": func() (err error) {
			d.text, err = d.body(j)
			return err
		},
		"html": func() (err error) {
			d.html, err = d.body(j)
			return err
		},
		"attachments": func() error {
			return j.list(func(int) error { return d.readAttachment(j) })
		},
		"headers": func() error { return j.members(func(name string) error { return d.readHeader(j, name) }) },
	})
	if err != nil {
		return err
	}
	return j.end()
}

// into reads a short text.
func (j *jsonReader) into(s *string) func() error {
	return func() (err error) {
		*s, err = j.text(maxShort)
		return err
	}
}

func (d *document) readAttachment(j *jsonReader) error {
	if err := j.hold(attachmentWeight); err != nil {
		return err
	}
	var a attachment
	err := j.object(map[string]func() error{
		"filename":   j.into(&a.filename),
		"type":       j.into(&a.kind),
		"content_id": j.into(&a.id),
		"content": func() (err error) {
			a.content, err = d.content(j)
			return err
		},
	})
	d.attachments = append(d.attachments, a)
	return err
}

// readHeader reads one value, or several.
func (d *document) readHeader(j *jsonReader, name string) error {
	if err := j.hold(headerWeight); err != nil {
		return err
	}
	add := func(int) error {
		if err := j.hold(headerWeight); err != nil {
			return err
		}
		value, err := j.text(maxShort)
		d.headers = append(d.headers, headerValue{name, value})
		return err
	}
	if null, err := j.null(); null || err != nil {
		return err
	}
	return j.oneOrMore(add)
}

// oneOrMore reads a list, or what a list could have.
func (j *jsonReader) oneOrMore(read func(n int) error) error {
	first, err := j.next()
	switch {
	case err != nil:
		return j.failed(err)
	case first == '[':
		return j.list(read)
	}
	return read(0)
}

// headerOctets is how many the header will have at least.
func (d *document) headerOctets() int64 {
	n := len(d.subject)
	for _, list := range []mailboxes{d.to, d.cc, d.replyTo} {
		for i := range list {
			n += len(list[i].name) + len(list[i].Exact)
		}
	}
	for _, h := range d.headers {
		n += len(h.name) + len(h.value)
	}
	return int64(n)
}

// recipients are those of To, Cc and Bcc, each once.
func (d *document) recipients() (all []string) {
	seen := make(map[string]bool)
	for _, list := range []mailboxes{d.to, d.cc, d.bcc} {
		for _, m := range list {
			if !seen[m.Exact] {
				seen[m.Exact] = true
				all = append(all, m.Exact)
			}
		}
	}
	return all
}
