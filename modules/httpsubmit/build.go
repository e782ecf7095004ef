package httpsubmit

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"io"
	"mime"
	"slices"
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
	if d.From == nil {
		return nil, unprocessable("from is required")
	}
	if d.Text == nil && d.HTML == nil && len(d.Attachments) == 0 {
		return nil, unprocessable("text, html or attachments is required")
	}
	b := &built{}
	own := []struct {
		name string
		list mailboxes
	}{{"From", mailboxes{*d.From}}, {"To", d.To}, {"Cc", d.Cc}, {"Reply-To", d.ReplyTo}}
	for _, f := range own {
		if err := b.addresses(f.name, f.list); err != nil {
			return nil, err
		}
	}
	subject, err := plainText("subject", d.Subject)
	if err != nil {
		return nil, err
	}
	if subject != "" {
		b.add("Subject", textValue(subject))
	}
	if err := b.addHeaders(d.Headers); err != nil {
		return nil, err
	}
	b.complete(d.From)
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
	return slices.Contains([]string{"from", "sender", "to", "cc", "bcc", "reply-to", "subject", "date", "mime-version", "return-path", "received",
		"delivered-to", "dkim-signature", "domainkey-signature", "authentication-results", "received-spf", "x-original-to", "envelope-to"}, name) ||
		slices.ContainsFunc([]string{"content-", "resent-", "arc-"}, func(p string) bool { return strings.HasPrefix(name, p) })
}

// Most that a document may add.
const (
	maxHeaders   = 100
	maxFieldName = 76
	maxValue     = 8 << 10
)

// addHeaders adds further fields, in the order of their names.
func (b *built) addHeaders(all headers) error {
	var names []string
	total := 0
	for name, list := range all {
		if len(name) > maxFieldName || !message.IsName(name) {
			return unprocessable("headers: a name is not that of a header field")
		}
		if reserved(name) {
			return unprocessable("headers: %s is not yours to write here", name)
		}
		names = append(names, name)
		if total += len(list); total > maxHeaders {
			return unprocessable("headers: more than %d", maxHeaders)
		}
	}
	slices.SortFunc(names, func(a, b string) int {
		return strings.Compare(strings.ToLower(a)+"\x00"+a, strings.ToLower(b)+"\x00"+b)
	})
	for _, name := range names {
		for _, value := range all[name] {
			value, err := plainText("headers: "+name, value)
			if err != nil {
				return err
			}
			if value == "" {
				return unprocessable("headers: %s is empty", name)
			}
			if isIDs := strings.EqualFold(name, "Message-ID"); (isIDs || strings.EqualFold(name, "In-Reply-To") || strings.EqualFold(name, "References")) && !areIDs(value, isIDs) {
				return unprocessable("headers: %s is not made of <id@domain.example>", name)
			}
			b.add(name, textValue(value))
		}
	}
	return nil
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
	b.add("Date", time.Now().Format("Mon, 2 Jan 2006 15:04:05 -0700"))
	if !slices.ContainsFunc(b.fields, func(f [2]string) bool { return strings.EqualFold(f[0], "Message-ID") }) {
		b.add("Message-ID", "<"+rand.Text()+"@"+from.ASCIIDomain()+">")
	}
}

// plainText is one line without what has no place in a header. White space is one space each, as readers that unfold see it.
func plainText(what, s string) (string, error) {
	if len(s) > maxValue {
		return "", unprocessable("%s is longer than %d octets", what, maxValue)
	}
	for _, r := range s {
		if r < ' ' && r != '\t' || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029' {
			return "", unprocessable("%s has a line end or a control character", what)
		}
	}
	words := strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || r == '\t' })
	if !needsWords(s) && slices.ContainsFunc(words, func(w string) bool { return len(w) > maxWord }) {
		return "", unprocessable("%s has a word of more than %d characters", what, maxWord)
	}
	return strings.Join(words, " "), nil
}

// textValue is a text as it stands in a header field.
func textValue(s string) string {
	if needsWords(s) {
		return encodeWords(s)
	}
	return s
}

// parts are text and HTML as alternatives, with what the HTML shows, and all else behind them.
func (d *document) parts() (*part, error) {
	var shown, attached []*part
	for i := range d.Attachments {
		p, err := d.Attachments[i].part(d.HTML != nil)
		if err != nil {
			return nil, inAttachment(i, err)
		}
		if p.id != "" && d.HTML != nil {
			shown = append(shown, p)
		} else {
			attached = append(attached, p)
		}
	}
	var bodies []*part
	if d.Text != nil {
		bodies = append(bodies, textPart("plain", *d.Text))
	}
	if d.HTML != nil {
		html := textPart("html", *d.HTML)
		bodies = append(bodies, group("multipart/related", append([]*part{html}, shown...)))
	}
	var all []*part
	if len(bodies) > 0 {
		all = append(all, group("multipart/alternative", bodies))
	}
	return group("multipart/mixed", append(all, attached...)), nil
}

func inAttachment(i int, err error) error {
	if web, ok := errors.AsType[*webError](err); ok {
		return unprocessable("attachment %d: %s", i+1, web.reply.Message)
	}
	return err
}

// group is its one part where there is but one.
func group(kind string, parts []*part) *part {
	if len(parts) == 1 {
		return parts[0]
	}
	return &part{kind: kind + "; boundary=" + rand.Text(), parts: parts}
}

func textPart(kind, text string) *part {
	return &part{kind: "text/" + kind + "; charset=utf-8", encoding: "quoted-printable", content: func(w io.Writer) error {
		_, err := io.WriteString(w, text)
		return err
	}}
}

// part checks an attachment.
func (a *attachment) part(related bool) (*part, error) {
	kind := a.Type
	if kind == "" {
		kind = "application/octet-stream"
	}
	media, params, err := mime.ParseMediaType(kind)
	if _, _, slash := strings.Cut(media, "/"); err != nil || !slash {
		return nil, unprocessable("type is not a media type, such as application/pdf")
	}
	if strings.HasPrefix(media, "multipart/") || strings.HasPrefix(media, "message/") { // RFC 2046 sections 5.1 and 5.2: not in base64
		return nil, unprocessable("type must not be multipart or message")
	}
	if charset := strings.ToLower(params["charset"]); charset != "" && charset != "utf-8" && charset != "us-ascii" {
		return nil, unprocessable("charset must be utf-8; leave it out, or send the message as message/rfc822")
	}
	delete(params, "name") // the file's is said once
	if kind = mime.FormatMediaType(media, params); kind == "" {
		return nil, unprocessable("type is not a media type, such as application/pdf")
	}
	name, err := plainText("filename", a.Filename)
	if err != nil {
		return nil, err
	}
	if len(name) > 255 || strings.ContainsAny(name, `/\`) {
		return nil, unprocessable("filename is too long, or a path")
	}
	if a.ID != "" && !isID(a.ID) && !isID(a.ID+"@x") {
		return nil, unprocessable("content_id may have letters, digits, and . _ - @")
	}
	if n := base64Len(string(a.Content)); n < 0 {
		return nil, unprocessable("content is not base64")
	}
	disposition, fileName := "attachment", map[string]string{}
	if related && a.ID != "" {
		disposition = "inline"
	}
	if name != "" {
		fileName["filename"] = name
	}
	return &part{kind: kind, disposition: mime.FormatMediaType(disposition, fileName), id: a.ID, encoding: "base64", content: a.Content.decode}, nil
}

// base64Len is the length of what is encoded; -1: it is not base64. Line ends are passed over.
func base64Len(s string) int64 {
	n, err := io.Copy(io.Discard, base64.NewDecoder(base64.StdEncoding, strings.NewReader(s)))
	if err != nil {
		return -1
	}
	return n
}

func (s base64Text) decode(w io.Writer) error {
	_, err := io.Copy(w, base64.NewDecoder(base64.StdEncoding, strings.NewReader(string(s))))
	return err
}

// write writes the message.
func (b *built) write(w io.Writer) error {
	var h gomessage.Header
	b.body.describe(&h)
	h.Add("MIME-Version", "1.0")
	for _, f := range slices.Backward(b.fields) {
		h.Add(f[0], f[1])
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
