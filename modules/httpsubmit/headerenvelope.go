package httpsubmit

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"regexp"

	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
	"github.com/caddy-msa/caddy-msa/caddymsa/message"
	"github.com/caddy-msa/caddy-msa/caddymsa/smtpd"
)

// header is a message's, of which the envelope is to be made, as a client does that submits by SMTP.
type header struct {
	fields message.Header
	rest   *bufio.Reader // from the empty line on
}

var errHeaderSize = fault(http.StatusUnprocessableEntity, 554, smtp.EnhancedCode{5, 6, 0}, "Message header is too large")

// readHeader reads up to the empty line.
func readHeader(body *bodyReader) (*header, error) {
	most := message.MaxHeader
	if limit := body.bounds.Header; limit > 0 && limit < message.MaxHeader {
		most = int(limit)
	}
	r := bufio.NewReaderSize(body, blockSize)
	var octets []byte
	for start := true; ; { // of a line
		if next, err := r.Peek(2); start && (err != nil || next[0] == '\n' || next[0] == '\r' && next[1] == '\n') {
			if err != nil && body.err != nil {
				return nil, body.blame(body.err)
			}
			break
		}
		piece, err := r.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) && !errors.Is(err, io.EOF) {
			return nil, body.blame(err)
		}
		if octets = append(octets, piece...); len(octets) > most {
			return nil, errHeaderSize
		}
		start = err == nil
		if errors.Is(err, io.EOF) {
			break
		}
	}
	if at := bytes.IndexByte(bytes.ReplaceAll(octets, []byte("\r\n"), nil), '\r'); at >= 0 { // it may become a line end after all
		return nil, smtpd.ErrBareCR
	}
	fields, err := message.ReadHeader(bytes.NewReader(octets))
	if err != nil {
		return nil, errHeaderSize
	}
	return &header{fields, r}, nil
}

// emptyGroup is a list of nobody, such as undisclosed-recipients:;
var emptyGroup = regexp.MustCompile(`^[^<>@]*:\s*;\s*$|^\s*$`)

// mailboxes are those in all fields of the name.
func (h *header) mailboxes(name string) (all []mailaddr.Address, err error) {
	for _, f := range h.fields {
		if !f.Is(name) || emptyGroup.MatchString(f.Value()) {
			continue
		}
		list, err := message.ParseMailboxes(f.Value())
		if err != nil {
			return nil, unprocessable("Header field %s: %v", name, err)
		}
		all = append(all, list...)
	}
	return all, nil
}

// envelope completes e by the header, and returns the message without Bcc.
func (h *header) envelope(e *smtpd.Envelope, values map[string][]string) (io.Reader, error) {
	if len(e.Recipients) > 0 {
		return nil, bad("Parameter to does not go with envelope=header")
	}
	if values["from"] == nil {
		from, err := h.mailboxes("From")
		if err == nil && len(from) > 1 { // RFC 5322 section 3.6.2
			from, err = h.mailboxes("Sender")
		}
		switch {
		case err != nil:
			return nil, err
		case len(from) != 1:
			return nil, unprocessable("The header must have one address in From, or in Sender; or the query from")
		}
		e.Sender = from[0].Exact
	}
	for _, name := range []string{"Resent-To", "Resent-Cc", "Resent-Bcc"} {
		if all, err := h.mailboxes(name); len(all) > 0 || err != nil {
			return nil, unprocessable("A message that is resent has two envelopes in its header: write from and to in the query")
		}
	}
	seen := make(map[string]bool)
	for _, name := range []string{"To", "Cc", "Bcc"} {
		all, err := h.mailboxes(name)
		if err != nil {
			return nil, err
		}
		for _, a := range all {
			if !seen[a.Exact] {
				seen[a.Exact] = true
				e.Recipients = append(e.Recipients, a.Exact)
			}
		}
	}
	var kept []byte
	for _, f := range h.fields {
		if !f.Is("Bcc") {
			kept = append(kept, f.Raw...)
		}
	}
	return io.MultiReader(bytes.NewReader(kept), h.rest), nil
}
