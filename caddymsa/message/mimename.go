package message

import (
	"bytes"
	"io"
	"mime"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/html/charset"
)

// maxName bounds a file name, in octets: no file system has longer ones.
const maxName = 255

var (
	starred = regexp.MustCompile(`(?i)\b((?:file)?name)\*`)
	// encoded is a whole name in a charset (RFC 2231 section 4).
	encoded = regexp.MustCompile(`(?i)\b(?:file)?name\*(0\*)?\s*=\s*([a-z0-9._:+-]*)'[^']*'([^;\s"]*)`)
)

// fileNames adds the names that a reader may find in a field's value. Of filename and filename*
// some readers take the one and some the other, so both count.
func (p *Part) fileNames(value, param string) {
	_, params, _ := mime.ParseMediaType(value)
	p.fileName(params[param])
	if !strings.Contains(value, "*") {
		return
	}
	// The same without the encoded parameters, which go before the plain ones.
	_, params, _ = mime.ParseMediaType(starred.ReplaceAllString(value, "x-$1*"))
	p.fileName(params[param])
	for _, m := range encoded.FindAllStringSubmatch(value, -1) {
		first, label, text := m[1] != "", strings.ToLower(m[2]), m[3]
		if label == "utf-8" || label == "us-ascii" {
			continue // the library has decoded it
		}
		octets, err := url.PathUnescape(text)
		enc, _ := charset.Lookup(label)
		if first || err != nil || enc == nil {
			p.Defects |= BadFileName
			continue
		}
		name, err := io.ReadAll(enc.NewDecoder().Reader(bytes.NewReader([]byte(octets))))
		if err != nil {
			p.Defects |= BadFileName
		}
		p.fileName(string(name))
	}
}

func (p *Part) fileName(name string) {
	if name = DecodeWords(name); name == "" {
		return
	}
	cleaned := clean(name)
	if cleaned != name {
		p.Defects |= BadFileName
	}
	if !slices.Contains(p.FileNames, cleaned) {
		p.FileNames = append(p.FileNames, cleaned)
	}
}

// clean makes a text safe to log and to compare: invalid and invisible characters become U+FFFD,
// and what is over maxName octets goes.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || unicode.In(r, unicode.C, unicode.Zl, unicode.Zp) {
			return utf8.RuneError
		}
		return r
	}, s)
	if len(s) <= maxName {
		return s
	}
	cut := maxName
	for !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut]
}
