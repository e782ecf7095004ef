package placeholder

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/caddy-msa/caddy-msa/caddymsa/names"
)

// maxElement is how long a value may be in octets: that of a file name, to which nothing is appended,
// and no address in ASCII is longer (RFC 5321 section 4.5.3.1.3).
const maxElement = 255

// ErrElement says that a value cannot be a path element. The error that wraps
// it says why and repeats no input.
var ErrElement = errors.New("value cannot be a path element")

// ErrAttribute is an ErrElement that is no fault of an address: it is about an attribute of who submits, such as one that is missing.
var ErrAttribute = errors.New("attribute of the user")

// Path is a template for a path on disk in which every value is exactly one
// element, so that no two different values share a path and none leads out of
// the base.
type Path struct {
	// Case is how names become elements. By default they do in lower case, so that Bob and BOB are
	// one mailbox, which Dovecot shows to bob.
	Case names.Case

	base     string
	elements []part
}

// othersNames are how mail stores and next hops of others write what is a placeholder here: without
// a word, all mail would go into one directory of that name.
var othersNames = map[string]string{
	"%u": "msa.recipient", "%n": "msa.recipient.local", "%d": "msa.recipient.domain",
	"$user": "msa.recipient", "${user}": "msa.recipient", "%{user}": "msa.recipient",
	"$local_part": "msa.recipient.local", "${local_part}": "msa.recipient.local", "%{user | username}": "msa.recipient.local",
	"$domain": "msa.recipient.domain", "${domain}": "msa.recipient.domain", "%{user | domain}": "msa.recipient.domain",
	"{user}": "msa.recipient", "{recipient}": "msa.recipient", "{local}": "msa.recipient.local", "{domain}": "msa.recipient.domain",
}

// ParsePath reads a path as Parse reads a text. At least one element must stand
// before the first of our placeholders, and these stand alone between slashes.
func ParsePath(s string, resolve Resolver) (*Path, error) {
	for element := range strings.SplitSeq(s, "/") {
		if ours, ok := othersNames[element]; ok {
			return nil, fmt.Errorf("path %q: %s is of other programs: write {%s}", s, element, ours)
		}
	}
	t, err := Parse(s, resolve)
	if err != nil {
		return nil, err
	}
	p := new(Path)
	for i, prt := range t.parts {
		switch {
		case prt.name != "" && i == 0:
			return nil, fmt.Errorf("path %q: a directory must come before the first placeholder", s)
		case prt.name != "" && !alone(t.parts, i):
			return nil, fmt.Errorf("path %q: {%s} must be alone between slashes", s, prt.name)
		case prt.name != "":
			p.elements = append(p.elements, prt)
		case i == 0:
			p.base = filepath.Clean(prt.literal)
		default:
			if err := p.addLiteral(prt.literal); err != nil {
				return nil, fmt.Errorf("path %q: %w", s, err)
			}
		}
	}
	if p.base == "" {
		return nil, errors.New("a path is required")
	}
	if strings.IndexByte(p.base, 0) >= 0 {
		return nil, fmt.Errorf("path %q: contains NUL", s)
	}
	return p, nil
}

// alone reports whether the placeholder parts[i] has a slash or an end on both
// sides; it is not the first part.
func alone(parts []part, i int) bool {
	if before := parts[i-1]; before.name != "" || !strings.HasSuffix(before.literal, "/") {
		return false
	}
	if i+1 == len(parts) {
		return true
	}
	after := parts[i+1]
	return after.name == "" && strings.HasPrefix(after.literal, "/")
}

func (p *Path) addLiteral(s string) error {
	for element := range strings.SplitSeq(s, "/") {
		switch {
		case element == "":
		case element == "." || element == "..":
			return fmt.Errorf("%q must not follow a placeholder", element)
		case strings.IndexByte(element, 0) >= 0:
			return errors.New("contains NUL")
		default:
			p.elements = append(p.elements, part{literal: element})
		}
	}
	return nil
}

// Base is the directory before the first placeholder, cleaned; it is what
// os.OpenRoot takes. Without a placeholder it is the whole path.
func (p *Path) Base() string { return p.base }

// Expand returns the path below the base, "." where there is nothing below it.
// The error is an ErrElement: no retry with the same values can do better.
func (p *Path) Expand(v Values) (string, error) {
	if len(p.elements) == 0 {
		return ".", nil
	}
	elements := make([]string, len(p.elements))
	for i, e := range p.elements {
		elements[i] = e.literal
		if e.name == "" {
			continue
		}
		elements[i] = v.value(e.name, p.Case)
		if err := checkElement(elements[i]); err != nil {
			if strings.HasPrefix(e.name, Attribute) {
				err = fmt.Errorf("%w: %w", ErrAttribute, err)
			}
			return "", fmt.Errorf("{%s}: %w: %w", e.name, ErrElement, err)
		}
	}
	path := filepath.Join(elements...)
	if !filepath.IsLocal(path) { // reserved names on Windows; elsewhere it cannot be
		return "", ErrElement
	}
	return path, nil
}

var (
	errEmpty     = errors.New("it is empty")
	errDot       = errors.New("it begins with a dot")
	errLong      = fmt.Errorf("it is longer than %d octets", maxElement)
	errSeparator = errors.New("it contains a path separator")
	errControl   = errors.New("it contains a control character")
	errEncoding  = errors.New("it is not UTF-8")
)

// checkElement holds a value to decision 9: what passes names one file or
// directory in the place where it stands, and one that ls shows.
func checkElement(s string) error {
	switch {
	case s == "":
		return errEmpty
	case s[0] == '.': // "." and ".." too; Maildir++ folders and hidden files
		return errDot
	case len(s) > maxElement:
		return errLong
	case strings.ContainsAny(s, `/`+string(filepath.Separator)):
		return errSeparator
	case !utf8.ValidString(s):
		return errEncoding
	}
	for _, r := range s {
		if unicode.IsControl(r) {
			return errControl
		}
	}
	return nil
}
