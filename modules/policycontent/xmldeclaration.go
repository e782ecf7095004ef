package policycontent

import (
	"regexp"
	"strings"
)

// instruction reads a processing instruction [16], or the XML declaration [23], which is allowed at the
// very start only.
func (x *xmlDocument) instruction(first bool) {
	target := string(x.readName("a processing instruction"))
	switch {
	case x.err != nil:
		return
	case target == "xml" && first:
		x.declaration()
		return
	case strings.EqualFold(target, "xml"):
		x.fail("the XML declaration is not at the start")
		return
	}
	if !x.space() {
		x.expect("?>", "a processing instruction")
		return
	}
	x.until("?>", "a processing instruction")
}

// What the XML declaration may say, in this order.
var (
	xmlVersion    = regexp.MustCompile(`^1\.[0-9]+$`)               // [26]
	xmlEncoding   = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9._-]*$`) // [81]
	xmlStandalone = regexp.MustCompile(`^(yes|no)$`)                // [32]
)

// declaration reads the XML declaration behind its name.
func (x *xmlDocument) declaration() {
	wanted := []struct {
		name string
		form *regexp.Regexp
		must bool
	}{{"version", xmlVersion, true}, {"encoding", xmlEncoding, false}, {"standalone", xmlStandalone, false}}
	spaced := x.space()
	for _, w := range wanted {
		if x.c != rune(w.name[0]) && !w.must {
			continue
		}
		if !spaced {
			x.fail("expected white space in the XML declaration")
		}
		x.expect(w.name, "the XML declaration")
		x.equals()
		value := x.pseudoValue()
		switch {
		case x.err != nil:
			return
		case !w.form.MatchString(value):
			x.fail("%s is malformed in the XML declaration", w.name)
		case w.name == "encoding":
			x.encoding = value
		}
		spaced = x.space()
	}
	x.expect("?>", "the XML declaration")
}

// pseudoValue reads a value of the XML declaration.
func (x *xmlDocument) pseudoValue() string {
	const most = 64
	x.name = x.name[:0]
	x.quoted(func() {
		if len(x.name) > most {
			x.fail("a value of the XML declaration is too long")
			return
		}
		x.name = append(x.name, string(x.c)...)
		x.next()
	})
	return string(x.name)
}
