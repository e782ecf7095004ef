package httpsubmit

import (
	"crypto/rand"
	"io"
	"mime"
	"net/mail"
	"slices"
	"strconv"
	"strings"
	"time"

	gomessage "github.com/emersion/go-message"

	"github.com/caddy-msa/caddy-msa/caddymsa/message"
)

// built is a document whose message can be written: all that can be wrong with it has been looked at.
type built struct {
	fields [][2]string // of the header, in their order
	body   *part
	utf8   bool // an address needs SMTPUTF8
}

// part is a MIME entity: octets, or other parts.
type part struct {
	kind        string // a media type
	disposition string
	id          string // Content-ID, without brackets
	encoding    string
	content     func(io.Writer) error
	parts       []*part
}

// prepare checks the document and puts the message's parts together.
func (d *document) prepare() (*built, error) {
	if d.from == nil {
		return nil, unprocessable("from is required")
	}
	if d.text == nil && d.html == nil && len(d.attachments) == 0 {
		return nil, unprocessable("text, html or attachments is required")
	}
	b := &built{}
	own := []struct {
		name string
		list mailboxes
	}{{"From", mailboxes{*d.from}}, {"To", d.to}, {"Cc", d.cc}, {"Reply-To", d.replyTo}}
	for _, f := range own {
		if err := b.addresses(f.name, f.list); err != nil {
			return nil, err
		}
	}
	subject, err := plainText("subject", d.subject, maxValue)
	if err != nil {
		return nil, err
	}
	if subject != "" {
		b.add("Subject", textValue(subject))
	}
	if err := b.addHeaders(d.headers); err != nil {
		return nil, err
	}
	b.complete(d.from)
	b.body, err = d.parts()
	return b, err
}

// maxWord is how long what cannot be folded may be, in a line of 998 octets (RFC 5322 section 2.1.1).
const maxWord = 900

func (b *built) add(name, value string) { b.fields = append(b.fields, [2]string{name, value}) }

// addresses adds a field that is read again as the same addresses, or it is none.
func (b *built) addresses(name string, list mailboxes) error {
	if len(list) == 0 {
		return nil
	}
	value := list.header()
	b.utf8 = b.utf8 || list.utf8()
	read, err := message.ParseMailboxes(value)
	same := err == nil && len(read) == len(list)
	for i := 0; same && i < len(list); i++ {
		same = read[i].Exact == list[i].Exact
	}
	if !same {
		return unprocessable("A name in %s cannot be written", strings.ToLower(name))
	}
	b.add(name, value)
	return nil
}

// reserved are fields that say what others have made of a message, or that are written from the rest of the
// document.
func reserved(name string) bool {
	name = strings.ToLower(name)
	return slices.Contains([]string{"from", "sender", "to", "cc", "bcc", "reply-to", "subject", "mime-version", "return-path", "received",
		"delivered-to", "dkim-signature", "domainkey-signature", "authentication-results", "received-spf", "x-original-to", "envelope-to"}, name) ||
		slices.ContainsFunc([]string{"content-", "resent-", "arc-"}, func(p string) bool { return strings.HasPrefix(name, p) })
}

// Most that a document may add.
const (
	maxHeaders   = 100
	maxFieldName = 76
	maxValue     = 64 << 10
)

// addHeaders adds further fields, in the order of their names.
func (b *built) addHeaders(all []headerValue) error {
	if len(all) > maxHeaders {
		return unprocessable("headers: more than %d", maxHeaders)
	}
	slices.SortStableFunc(all, func(a, b headerValue) int { return strings.Compare(strings.ToLower(a.name), strings.ToLower(b.name)) })
	for _, h := range all {
		value, err := h.check()
		if err != nil {
			return err
		}
		if once(h.name) && b.has(h.name) {
			return unprocessable("headers: %s is specified twice", h.name)
		}
		b.add(h.name, textValue(value))
	}
	return nil
}

// check returns the value as it stands in the field.
func (h *headerValue) check() (string, error) {
	if len(h.name) > maxFieldName || !message.IsName(h.name) {
		return "", unprocessable("headers: a name is not that of a header field")
	}
	if reserved(h.name) {
		return "", unprocessable("headers: %s is not yours to write here", h.name)
	}
	value, err := plainText("headers: "+h.name, h.value, maxWord)
	switch {
	case err != nil:
		return "", err
	case value == "":
		return "", unprocessable("headers: %s is empty", h.name)
	case strings.EqualFold(h.name, "Date"):
		if _, err := mail.ParseDate(value); err != nil {
			return "", unprocessable("headers: Date is not one, such as Mon, 2 Jan 2006 15:04:05 +0100")
		}
	case once(h.name) && !areIDs(value, strings.EqualFold(h.name, "Message-ID")):
		return "", unprocessable("headers: %s is not made of <id@domain.example>", h.name)
	}
	return value, nil
}

// once tells whether there may be only one field of the name (RFC 5322 section 3.6): Date, and those with ids of messages.
func once(name string) bool {
	return slices.ContainsFunc([]string{"Date", "Message-ID", "In-Reply-To", "References"}, func(n string) bool { return strings.EqualFold(n, name) })
}

func (b *built) has(name string) bool {
	return slices.ContainsFunc(b.fields, func(f [2]string) bool { return strings.EqualFold(f[0], name) })
}

// areIDs tells whether a text is a list of message ids (RFC 5322 section 3.6.4), or one.
func areIDs(value string, one bool) bool {
	ids := strings.Fields(value)
	for _, id := range ids {
		if len(id) < 2 || id[0] != '<' || id[len(id)-1] != '>' || !isID(id[1:len(id)-1]) {
			return false
		}
	}
	return len(ids) == 1 || len(ids) > 1 && !one
}

// isID is stricter than the RFC: what people make, and nothing that must be quoted.
func isID(s string) bool {
	left, right, ok := strings.Cut(s, "@")
	return ok && left != "" && right != "" && len(s) <= 250 &&
		strings.Trim(strings.ToLower(left+right), "abcdefghijklmnopqrstuvwxyz0123456789.!#$%&'*+/=?^_`{|}~-[]:") == ""
}

// complete adds what a client does.
func (b *built) complete(from *mailbox) {
	if !b.has("Date") {
		b.add("Date", time.Now().Format("Mon, 2 Jan 2006 15:04:05 -0700"))
	}
	if !b.has("Message-ID") {
		b.add("Message-ID", "<"+rand.Text()+"@"+from.ASCIIDomain()+">")
	}
}

// plainText is one line without what has no place in a header. White space is one space each, as readers that unfold see it.
// A word of more than longest octets can be written only if it is encoded.
func plainText(what, s string, longest int) (string, error) {
	if len(s) > maxValue {
		return "", unprocessable("%s is longer than %d octets", what, maxValue)
	}
	for _, r := range s {
		if r < ' ' && r != '\t' || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029' {
			return "", unprocessable("%s has a line end or a control character", what)
		}
	}
	words := strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || r == '\t' })
	if !needsWords(s) && slices.ContainsFunc(words, func(w string) bool { return len(w) > longest }) {
		return "", unprocessable("%s has a word of more than %d characters", what, longest)
	}
	return strings.Join(words, " "), nil
}

// textValue is a text as it stands in a header field.
func textValue(s string) string {
	if needsWords(s) || slices.ContainsFunc(strings.Fields(s), func(w string) bool { return len(w) > maxWord }) {
		return encodeWords(s)
	}
	return s
}

// parts are text and HTML as alternatives, with what the HTML shows, and all else behind them.
func (d *document) parts() (*part, error) {
	var shown, attached []*part
	for i := range d.attachments {
		p, err := d.attachments[i].part(d, "attachments["+strconv.Itoa(i)+"]")
		if err != nil {
			return nil, err
		}
		if p.id != "" && d.html != nil {
			shown = append(shown, p)
		} else {
			attached = append(attached, p)
		}
	}
	var bodies []*part
	if d.text != nil {
		bodies = append(bodies, d.textPart("plain", *d.text))
	}
	if d.html != nil {
		html := d.textPart("html", *d.html)
		bodies = append(bodies, group("multipart/related", append([]*part{html}, shown...)))
	}
	var all []*part
	if len(bodies) > 0 {
		all = append(all, group("multipart/alternative", bodies))
	}
	return group("multipart/mixed", append(all, attached...)), nil
}

// group is its one part where there is but one.
func group(kind string, parts []*part) *part {
	if len(parts) == 1 {
		return parts[0]
	}
	return &part{kind: kind + "; boundary=" + rand.Text(), parts: parts}
}

func (d *document) textPart(kind string, text stretch) *part {
	return &part{kind: "text/" + kind + "; charset=utf-8", encoding: "quoted-printable", content: d.copier(text)}
}

func (d *document) copier(s stretch) func(io.Writer) error {
	return func(w io.Writer) error { return d.spill.copy(w, s) }
}

// part checks an attachment.
func (a *attachment) part(d *document, where string) (*part, error) {
	if a.content == nil {
		return nil, unprocessable("%s.content is required", where)
	}
	kind, err := mediaType(where+".type", a.kind)
	if err != nil {
		return nil, err
	}
	name, err := plainText(where+".filename", a.filename, maxFilename)
	if err != nil {
		return nil, err
	}
	if len(name) > maxFilename || strings.ContainsAny(name, `/\`) {
		return nil, unprocessable("%s.filename is too long, or a path", where)
	}
	if a.id != "" && !isID(a.id) && !isID(a.id+"@x") {
		return nil, unprocessable("%s.content_id may have letters, digits, and . _ - @", where)
	}
	disposition, fileName := "attachment", map[string]string{}
	if d.html != nil && a.id != "" {
		disposition = "inline"
	}
	if name != "" {
		fileName["filename"] = name
	}
	return &part{kind: kind, disposition: mime.FormatMediaType(disposition, fileName), id: a.id, encoding: "base64", content: d.copier(*a.content)}, nil
}

// maxFilename is what file systems have.
const maxFilename = 255

// mediaType is an attachment's.
func mediaType(where, kind string) (string, error) {
	if kind == "" {
		kind = "application/octet-stream"
	}
	media, params, err := mime.ParseMediaType(kind)
	if _, _, slash := strings.Cut(media, "/"); err != nil || !slash {
		return "", unprocessable("%s is not a media type, such as application/pdf", where)
	}
	if strings.HasPrefix(media, "multipart/") || strings.HasPrefix(media, "message/") { // RFC 2046 sections 5.1 and 5.2: not in base64
		return "", unprocessable("%s must not be multipart or message", where)
	}
	if charset := strings.ToLower(params["charset"]); charset != "" && charset != "utf-8" && charset != "us-ascii" {
		return "", unprocessable("%s: charset must be utf-8; leave it out, or send the message as message/rfc822", where)
	}
	delete(params, "name") // the file's is said once
	if kind = mime.FormatMediaType(media, params); kind == "" || len(kind) > maxWord {
		return "", unprocessable("%s is not a media type, such as application/pdf, or too long", where)
	}
	return kind, nil
}

// write writes the message.
func (b *built) write(w io.Writer) error {
	var h gomessage.Header
	b.body.describe(&h)
	h.Add("MIME-Version", "1.0")
	for _, f := range slices.Backward(b.fields) {
		h.AddRaw(fold(f[0], f[1]))
	}
	end := &ending{Writer: w}
	mw, err := gomessage.CreateWriter(end, h)
	if err != nil {
		return err
	}
	if err := b.body.write(mw); err != nil || end.line {
		return err
	}
	_, err = io.WriteString(w, "\r\n")
	return err
}

// ending remembers whether what was written ends a line.
type ending struct {
	io.Writer
	line bool
}

func (e *ending) Write(p []byte) (int, error) {
	if len(p) > 0 {
		e.line = p[len(p)-1] == '\n'
	}
	return e.Writer.Write(p)
}

// describe adds the part's own fields. Each comes before those that are there.
func (p *part) describe(h *gomessage.Header) {
	if p.id != "" {
		h.Add("Content-ID", "<"+p.id+">")
	}
	if p.disposition != "" {
		h.Add("Content-Disposition", p.disposition)
	}
	if p.encoding != "" {
		h.Add("Content-Transfer-Encoding", p.encoding)
	}
	h.Add("Content-Type", p.kind)
}

func (p *part) write(w *gomessage.Writer) error {
	if p.parts == nil {
		if err := p.content(w); err != nil {
			return err
		}
		return w.Close()
	}
	for _, child := range p.parts {
		var h gomessage.Header
		child.describe(&h)
		cw, err := w.CreatePart(h)
		if err != nil {
			return err
		}
		if err := child.write(cw); err != nil {
			return err
		}
	}
	return w.Close()
}
