package httpsubmit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"github.com/emersion/go-smtp"
	"golang.org/x/sync/semaphore"

	"github.com/caddy-msa/caddy-msa/caddymsa/running"
	"github.com/caddy-msa/caddy-msa/caddymsa/smtpd"
)

// document is a message as JSON.
type document struct {
	From        *mailbox     `json:"from"`
	To          mailboxes    `json:"to"`
	Cc          mailboxes    `json:"cc"`
	Bcc         mailboxes    `json:"bcc"`
	ReplyTo     mailboxes    `json:"reply_to"`
	Subject     string       `json:"subject"`
	Text        *string      `json:"text"`
	HTML        *string      `json:"html"`
	Attachments []attachment `json:"attachments"`
	Headers     headers      `json:"headers"`
}

type attachment struct {
	Filename string `json:"filename"`
	// Type is a media type; application/octet-stream if it is left out.
	Type string `json:"type"`
	// Content in base64.
	Content base64Text `json:"content"`
	// ID by which the HTML shows it, as in <img src="cid:...">.
	ID string `json:"content_id"`
}

// base64Text is decoded when it is written.
type base64Text string

// headers are further header fields.
type headers map[string]values

// values is one value, or several.
type values []string

// UnmarshalJSON implements json.Unmarshaler.
func (v *values) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		*v = make(values, 1)
		return json.Unmarshal(b, &(*v)[0])
	}
	return json.Unmarshal(b, (*[]string)(v))
}

// inMemory bounds what all requests together hold of JSON.
const inMemory = 64 << 20

var memory = semaphore.NewWeighted(inMemory)

var errBusy = &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 2}, Message: "Too many messages come as JSON, try again later"}

// document takes a message as JSON.
func (h *Submit) document(ctx context.Context, s running.Submitter, e *smtpd.Envelope, body *bodyReader, once *running.Once) (smtpd.Reply, error) {
	size := h.JSONSize
	if n := body.r.ContentLength; n > size {
		return smtpd.Reply{}, h.tooLarge()
	} else if n >= 0 {
		size = n
	}
	weight := min(max(size, 1), inMemory)
	if !memory.TryAcquire(weight) {
		return smtpd.Reply{}, errBusy
	}
	defer memory.Release(weight)
	b, err := io.ReadAll(io.LimitReader(body, size+1))
	switch {
	case err != nil:
		return smtpd.Reply{}, body.blame(err)
	case int64(len(b)) > size:
		return smtpd.Reply{}, h.tooLarge()
	}
	d, err := readDocument(b)
	if err != nil {
		return smtpd.Reply{}, err
	}
	m, err := d.prepare()
	if err != nil {
		return smtpd.Reply{}, err
	}
	e.Sender, e.Recipients, e.UTF8 = d.From.Exact, d.recipients(), e.UTF8 || m.utf8
	return send(ctx, s, e, once, body, func(d running.Draft) error { return m.write(d) })
}

func (h *Submit) tooLarge() error {
	return fault(http.StatusRequestEntityTooLarge, 552, smtp.EnhancedCode{5, 3, 4}, "A message as JSON may have %d octets; send what is larger as message/rfc822", h.JSONSize)
}

// readDocument refuses what it does not know: a misspelled bcc must not get lost.
func readDocument(b []byte) (*document, error) {
	d := new(document)
	decoder := json.NewDecoder(bytes.NewReader(b))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(d)
	if err == nil {
		if _, more := decoder.Token(); more != io.EOF {
			err = errors.New("there is something behind its end")
		}
	}
	if web, ok := errors.AsType[*webError](err); ok { // of a mailbox
		return nil, web
	}
	if err != nil {
		return nil, bad("JSON cannot be read: %s", jsonError(err))
	}
	return d, nil
}

// jsonError is the decoder's, without the names of our types.
func jsonError(err error) string {
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return "a " + wrong.Value + " is not expected at " + wrong.Field
	}
	return err.Error()
}

// recipients are those of To, Cc and Bcc, each once.
func (d *document) recipients() (all []string) {
	seen := make(map[string]bool)
	for _, list := range []mailboxes{d.To, d.Cc, d.Bcc} {
		for _, m := range list {
			if !seen[m.Exact] {
				seen[m.Exact] = true
				all = append(all, m.Exact)
			}
		}
	}
	return all
}
