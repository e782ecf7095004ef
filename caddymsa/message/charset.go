package message

import (
	_ "embed"
	"strings"
	"sync"

	"golang.org/x/net/html/charset"
	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/ianaindex"
)

//go:embed charsets.txt
var registered string

// charsets gives each alias its preferred name, both in lower case.
var charsets = sync.OnceValue(func() map[string]string {
	names := make(map[string]string)
	for line := range strings.Lines(registered) {
		aliases := strings.Fields(line)
		if aliases[0] == "#" {
			continue
		}
		for _, alias := range aliases {
			names[alias] = aliases[0]
		}
	}
	delete(names, "|")
	return names
})

// CharsetName returns the one name, in lower case, by which a character set is compared whatever
// alias of IANA's register it goes by: of "ANSI_X3.4-1968" it is "us-ascii". The name of one that
// nobody knows is the label itself, in lower case.
func CharsetName(label string) string {
	label = strings.ToLower(strings.TrimSpace(label))
	if name, ok := charsets()[label]; ok {
		return name
	}
	return label
}

// KnownCharset tells whether a label is one of IANA's register, or one that programs write besides.
// Browsers know others.
func KnownCharset(label string) bool {
	_, ok := charsets()[strings.ToLower(strings.TrimSpace(label))]
	return ok
}

// Charset returns the encoding that decodes text in the character set, or nil if there is none.
func Charset(label string) encoding.Encoding {
	name := CharsetName(label)
	if enc, err := ianaindex.IANA.Encoding(name); err == nil && enc != nil {
		return enc
	}
	// Browsers read some as the larger ones that contain them, such as gb2312 as GBK. "replacement" is
	// what they call those that must not be decoded.
	enc, web := charset.Lookup(name)
	if web == "replacement" || web == "x-user-defined" {
		return nil
	}
	return enc
}
