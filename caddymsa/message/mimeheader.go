package message

import (
	"bytes"
	"mime"
	"regexp"
	"slices"
	"strings"
)

// What a walk keeps of headers is bounded by these, in octets: of a part's header, of those of
// all parts together, and of each field that says something about MIME.
const (
	maxPartHeader  = 64 << 10
	maxPartHeaders = 1 << 20
	maxKept        = 16 << 10
	maxBoundary    = 1000
)

// kept are the fields that say what a part is.
type kept struct {
	contentType, encoding, disposition, version *Field
	again                                       []*Field // those of them that are there once more, which some readers take
}

// slot returns where the first field of the name goes; nil for a name that says nothing here.
func (k *kept) slot(name string) **Field {
	switch strings.ToLower(name) {
	case "content-type":
		return &k.contentType
	case "content-transfer-encoding":
		return &k.encoding
	case "content-disposition":
		return &k.disposition
	case "mime-version":
		return &k.version
	}
	return nil
}

// header reads a part's header up to the empty line, a delimiter or the end.
func (w *walker) header(p *Part, limit *int, root bool) (kept, *delimiter, error) {
	var (
		k     kept
		cur   *Field // that folds belong to, if it is kept
		left  = maxPartHeader
		lines int
	)
	if root {
		left = MaxHeader
	}
	for {
		piece, first, d, err := w.lines.next()
		if d != nil || err != nil {
			if d != nil || !root || lines == 0 { // a message may be just a header (RFC 5322 section 3.5)
				p.Defects |= BadHeader
			}
			return k, d, err
		}
		text := trimLineEnd(piece)
		if first && len(text) == 0 {
			return k, nil, nil
		}
		lines++
		left -= len(piece)
		*limit -= len(piece)
		switch {
		case root && left < 0:
			return k, nil, ErrHeaderTooLong
		case left < 0:
			return k, nil, &LimitError{What: "octets in the header of a part", Max: maxPartHeader}
		case *limit < 0:
			return k, nil, &LimitError{What: "octets in the headers of parts", Max: maxPartHeaders}
		}
		if first && (text[0] != ' ' && text[0] != '\t' || lines == 1) {
			cur = k.field(text, p)
		} else if len(bytes.TrimSpace(text)) == 0 && first {
			p.Defects |= BadHeader
		}
		if cur == nil {
			continue
		}
		if cur.Raw = append(cur.Raw, piece...); len(cur.Raw) > maxKept {
			return k, nil, &LimitError{What: "octets in header field " + cur.Name, Max: maxKept}
		}
	}
}

// field begins a field with its first line, and returns it if it is to be kept.
func (k *kept) field(line []byte, p *Part) *Field {
	name, _, found := bytes.Cut(line, []byte(":"))
	trimmed := bytes.TrimRight(name, " \t")
	if !found || !IsName(trimmed) {
		p.Defects |= BadHeader
		return nil
	}
	slot := k.slot(string(trimmed))
	switch {
	case slot == nil:
		return nil
	case len(trimmed) < len(name):
		p.Defects |= BadHeader
	}
	f := &Field{Name: string(trimmed)}
	if *slot != nil {
		p.Defects |= DuplicateField
		k.again = append(k.again, f)
		return f
	}
	*slot = f
	return f
}

// describe fills in what the fields say. embedded tells that they are of a message, digest that
// they are of a part of a multipart/digest.
func (p *Part) describe(k kept, embedded, digest bool) {
	p.Type = "text/plain"
	if digest {
		p.Type = "message/rfc822" // RFC 2046 section 5.1.5
	}
	if k.contentType != nil {
		p.contentType(k.contentType.Value())
	}
	if p.Charset = CharsetName(p.Params["charset"]); p.Charset == "" && strings.HasPrefix(p.Type, "text/") {
		p.Charset = "us-ascii" // RFC 2045 section 5.2
	}
	if k.disposition != nil {
		p.disposition(k.disposition.Value())
	}
	names := nameSet{part: p, seen: make(map[string]struct{})}
	for _, f := range append([]*Field{k.disposition, k.contentType}, k.again...) {
		if f != nil && !f.Is("Content-Transfer-Encoding") && !f.Is("MIME-Version") {
			names.field(f.Value())
		}
	}
	if len(p.FileNames) > 0 {
		p.FileName = p.FileNames[0]
	}
	p.encoding(k.encoding)
	mimed := k.contentType != nil || k.encoding != nil || k.disposition != nil
	if embedded && mimed && (k.version == nil || !isVersion(k.version.Value())) {
		p.Defects |= NoVersion
	}
	p.container()
}

// critical are parameters that decide how a part is read, in the notation of RFC 2231, which many
// readers know for file names only.
var critical = regexp.MustCompile(`(?i)\b(boundary|charset|protocol|smime-type)\*`)

// maxOthers bounds what a boundary may be for others.
const maxOthers = 4

func (p *Part) contentType(written string) {
	value := uncomment(written)
	if value != written {
		value = tightType(value)
	}
	t, params, err := mime.ParseMediaType(value)
	if value != written {
		p.boundaries(written, params["boundary"])
	}
	if err != nil || strings.Contains(value, "*") && critical.MatchString(value) {
		p.Defects |= BadType
	}
	if !strings.Contains(t, "/") {
		p.Defects |= BadType
		t = "application/octet-stream"
	}
	p.Type, p.Params = t, params
}

// boundaries finds what who does not know comments takes for the boundary.
func (p *Part) boundaries(written, understood string) {
	for _, q := range lenientParams(written) {
		if q.name != "boundary" {
			continue
		}
		for _, other := range []string{q.value, q.raw} {
			if other != "" && other != understood && !slices.Contains(p.others, other) {
				p.others = append(p.others, other)
			}
		}
	}
	if len(p.others) > maxOthers {
		p.Defects |= BadBoundary
		p.others = nil
	}
}

func (p *Part) disposition(value string) {
	d, _, err := mime.ParseMediaType(uncomment(value))
	if err != nil || d == "" {
		p.Defects |= BadDisposition
	}
	p.Disposition = d
}

func (p *Part) encoding(f *Field) {
	p.Encoding = "7bit" // RFC 2045 section 6.1
	if f != nil {
		p.Encoding = strings.ToLower(strings.TrimSpace(uncomment(f.Value())))
	}
	switch p.Encoding {
	case "7bit", "8bit", "binary", "base64", "quoted-printable":
	default:
		p.Defects |= UnknownEncoding
		p.Encoding = clean(p.Encoding)
	}
}

// container decides whether the part is looked into.
func (p *Part) container() {
	identity := p.Encoding == "7bit" || p.Encoding == "8bit" || p.Encoding == "binary"
	switch {
	case isMultipart(p.Type):
		if !identity {
			p.Defects |= EncodedContainer
		}
		b := p.Params["boundary"]
		if !isBoundary(b) {
			p.Defects |= BadBoundary
		}
		p.Container = b != "" && len(b) <= maxBoundary
	case p.Type == "message/rfc822" || p.Type == "message/global" || p.Type == "message/news":
		if !identity {
			p.Defects |= EncodedContainer
		}
		p.Container = identity
	}
}

func isMultipart(mediaType string) bool { return strings.HasPrefix(mediaType, "multipart/") }

// isBoundary is the grammar of RFC 2046 section 5.1.1.
func isBoundary(s string) bool {
	if s == "" || len(s) > 70 || s[len(s)-1] == ' ' {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !('0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || strings.IndexByte("'()+_,-./:=? ", c) >= 0) {
			return false
		}
	}
	return true
}

// isVersion allows comments, as some clients write (RFC 2045 section 4).
func isVersion(value string) bool { return strings.TrimSpace(uncomment(value)) == "1.0" }
