package message

import (
	"cmp"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxName bounds a file name, in octets: no file system has longer ones.
const maxName = 255

// nameSet are the file names of a part, in the order in which they are found.
type nameSet struct {
	part *Part
	seen map[string]struct{}
}

// field adds the names that some reader finds in the value of a Content-Disposition or Content-Type
// field. Readers differ in which parameter they take, in how they put one together that is in pieces,
// and in what they decode.
func (n *nameSet) field(value string) {
	for _, text := range distinct(uncomment(value), value) {
		n.params(lenientParams(text))
		for quoted := range quotedStrings(text) { // who does not know quotes sees parameters in them
			n.params(lenientParams(quoted))
		}
	}
}

func distinct(a, b string) []string {
	if a == b {
		return []string{a}
	}
	return []string{a, b}
}

func (n *nameSet) params(all []param) {
	for _, name := range []string{"filename", "name"} {
		var pieces, plain []param
		extended := false
		for _, p := range all {
			switch {
			case p.name != name:
			case p.section >= 0:
				pieces = append(pieces, p)
			case p.encoded:
				extended = true
				n.extended(p.value)
			default:
				plain = append(plain, p)
			}
		}
		if len(pieces) > 0 {
			n.pieces(pieces, extended || len(plain) > 0)
			if extended {
				n.part.Defects |= BadFileName
			}
		}
		for _, p := range plain {
			n.plain(p)
		}
	}
}

// plain is a parameter of RFC 2045. A backslash may be a quoted pair, or of a path.
func (n *nameSet) plain(p param) {
	n.add(strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(p.value))
	n.add(unquote(`"` + p.value + `"`))
	if p.raw == "" || p.raw[0] == '"' {
		if p.raw != `"`+p.value+`"` { // something stands behind the quotes
			n.add(strings.ReplaceAll(p.raw, `"`, ""))
			n.add(p.raw)
		}
		return
	}
	if i := strings.IndexAny(p.raw, " \t("); i >= 0 { // where a value without quotes ends for some
		n.add(p.raw[:i])
	}
	if before, _, found := strings.Cut(p.raw, "?="); found && !strings.HasSuffix(before, "?q") && !strings.HasSuffix(before, "?Q") {
		n.add(before + "?=")
	}
}

// extended is a parameter of RFC 2231 section 4: charset'language'text with percent signs.
func (n *nameSet) extended(value string) {
	label, text, ok := cutExtended(value)
	if !ok {
		n.part.Defects |= BadFileName
		n.add(value)
	}
	n.add(n.decoded(label, n.unescaped(text)))
}

func cutExtended(value string) (label, text string, ok bool) {
	label, rest, _ := strings.Cut(value, "'")
	_, text, ok = strings.Cut(rest, "'")
	if !ok {
		return "", value, false
	}
	return label, text, true
}

// unescaped takes percent signs away.
func (n *nameSet) unescaped(text string) string {
	octets, err := url.PathUnescape(text)
	if err != nil {
		n.part.Defects |= BadFileName
		return text
	}
	return octets
}

// decoded is a text in a character set; of an unknown one it is the text itself. Nobody names a file in one that is not ASCII's superset,
// and readers take such differently.
func (n *nameSet) decoded(label, text string) string {
	if label == "" {
		label = "utf-8"
	}
	if strings.HasPrefix(CharsetName(label), "utf-16") || strings.HasPrefix(CharsetName(label), "utf-32") {
		n.part.Defects |= BadFileName
		n.add(strings.ReplaceAll(text, "\x00", ""))
	}
	name, ok := decodeText(label, []byte(text))
	if !ok {
		n.part.Defects |= BadFileName
		return text
	}
	return name
}

// pieces puts a value in several parameters together (RFC 2231 section 3), by their numbers and in the
// order in which they are written; what comes behind a gap is left out by some. Where the name is there in
// another form too, some take a piece for the whole.
func (n *nameSet) pieces(written []param, mixed bool) {
	sorted := slices.Clone(written)
	slices.SortStableFunc(sorted, func(a, b param) int { return cmp.Compare(a.section, b.section) })
	contiguous := 1
	for contiguous < len(sorted) && sorted[contiguous].section == sorted[contiguous-1].section+1 {
		contiguous++
	}
	for i := range sorted[1:] {
		mixed = mixed || sorted[i].section == sorted[i+1].section
	}
	n.joined(sorted[:contiguous])
	if contiguous < len(sorted) {
		n.part.Defects |= BadFileName
		n.joined(sorted)
	}
	if !slices.Equal(sorted, written) {
		n.joined(written)
	}
	for _, p := range written {
		if mixed {
			n.joined([]param{p})
		}
	}
}

func (n *nameSet) joined(pieces []param) {
	var octets strings.Builder
	label := ""
	for i, p := range pieces {
		if !p.encoded {
			octets.WriteString(unquote(`"` + p.value + `"`))
			continue
		}
		text := p.value
		if i == 0 {
			var ok bool
			if label, text, ok = cutExtended(text); !ok {
				n.part.Defects |= BadFileName
			}
		}
		octets.WriteString(n.unescaped(text))
	}
	n.add(n.decoded(label, octets.String()))
	if all, err := url.PathUnescape(octets.String()); err == nil && all != octets.String() { // for some every piece is encoded
		n.add(n.decoded(label, all))
	}
}

// wideWord begins an encoded word in a character set that is not ASCII's superset: readers differ in the order of its octets.
var wideWord = regexp.MustCompile(`(?i)=\?(utf-?(7|16|32)|ucs-?[24]|iso-10646)`)

// add adds a name with its encoded words decoded. One that is not decoded has the same ending.
func (n *nameSet) add(name string) {
	if wideWord.MatchString(name) {
		n.part.Defects |= BadFileName
	}
	name = strings.TrimFunc(DecodeWords(name), unicode.IsSpace) // no-break spaces too, as Python does
	if name == "" {
		return
	}
	if inner := strings.TrimFunc(strings.Trim(name, `'"`), unicode.IsSpace); inner != name && inner != "" { // quotes to some
		n.put(inner)
	}
	if before, _, found := strings.Cut(name, ":"); found && len(before) > 1 { // a stream of the file, on Windows
		n.put(before)
	}
	if strings.Contains(name, "=?") || strings.HasSuffix(name, "?=") { // words in words
		n.part.Defects |= BadFileName
		n.put(strings.TrimSuffix(DecodeWords(name), "?="))
	}
	n.put(name)
}

// put puts a name that is fit to be shown among the others, and what is left of it without what is invisible.
func (n *nameSet) put(name string) {
	shown := clean(name)
	n.once(shown)
	if shown != name || strings.ContainsRune(name, utf8.RuneError) {
		n.part.Defects |= BadFileName
		n.once(middleCut(strings.Map(func(r rune) rune {
			if isUnseen(r) {
				return -1
			}
			return r
		}, name)))
	}
}

func (n *nameSet) once(name string) {
	if _, twice := n.seen[name]; twice || name == "" {
		return
	}
	n.seen[name] = struct{}{}
	n.part.FileNames = append(n.part.FileNames, name)
}

// middleCut keeps the ending of a name that is too long.
func middleCut(name string) string {
	if len(name) <= maxName {
		return name
	}
	return strings.ToValidUTF8(name[:maxName/2]+name[len(name)-maxName/2:], "")
}

// clean makes a text safe to log and to compare: invalid and invisible characters become U+FFFD,
// and what is over maxName octets goes.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if isUnseen(r) {
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

// isUnseen tells whether a character is invalid or invisible.
func isUnseen(r rune) bool {
	return r == utf8.RuneError || unicode.In(r, unicode.C, unicode.Zl, unicode.Zp)
}
