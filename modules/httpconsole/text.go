package httpconsole

import (
	"bytes"
	"cmp"
	"fmt"
	"html/template"
	"net/url"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/dustin/go-humanize"
)

// visibleHTML shows what would steer the reader's eye: control characters, changes of the writing direction, what has no width.
// Templates have escaped the rest. Fields of forms that must come back as they are, are percent-encoded (exact).
func visibleHTML(html []byte) []byte {
	if !bytes.ContainsFunc(html, hidden) && utf8.Valid(html) {
		return html
	}
	var b bytes.Buffer
	for len(html) > 0 {
		r, n := utf8.DecodeRune(html)
		switch {
		case r == utf8.RuneError && n == 1:
			b.WriteRune(utf8.RuneError)
		case !hidden(r):
			b.Write(html[:n])
		default:
			fmt.Fprintf(&b, "⟨U+%04X⟩", r)
		}
		html = html[n:]
	}
	return b.Bytes()
}

func hidden(r rune) bool { return r != '\n' && r != '\t' && r != '\u00a0' && !unicode.IsPrint(r) }

// exact is a text that no reader sees, in a form's field; see visibleHTML.
func exact(s string) string { return url.QueryEscape(s) }

func fromExact(s string) string {
	text, err := url.QueryUnescape(s)
	if err != nil {
		return s
	}
	return text
}

// functions are those of the templates.
var functions = template.FuncMap{
	"moment": moment, "withMoments": withMoments, "bytes": octets, "exact": exact, "plural": plural, "lasted": lasted, "join": strings.Join, "add": func(a, b int) int { return a + b },
	"path": reversePath, "capital": capital, "link": link, "orDash": func(s string) string { return cmp.Or(s, "–") }, "count": func(n int) string { return humanize.Comma(int64(n)) },
	"lines": func(s string) []string { return strings.Split(s, "\n") }, "chip": chip,
}

// moment is a time for a script to put into the reader's zone; without one it is UTC.
func moment(t time.Time) template.HTML {
	if t.IsZero() {
		return "–"
	}
	t = t.UTC()
	return template.HTML(fmt.Sprintf(`<time datetime="%s" title="%s">%s</time>`, t.Format("2006-01-02T15:04:05.000Z"), t.Format("2006-01-02 15:04:05 UTC"), t.Format("2006-01-02 15:04:05 UTC")))
}

// stamp is a time within a text of ours.
var stamp = regexp.MustCompile(`\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)`)

// withMoments is a text whose times are moments.
func withMoments(s string) template.HTML {
	var b strings.Builder
	end := 0
	for _, at := range stamp.FindAllStringIndex(s, -1) {
		t, err := time.Parse(time.RFC3339Nano, s[at[0]:at[1]])
		if err != nil {
			continue
		}
		b.WriteString(template.HTMLEscapeString(s[end:at[0]]))
		b.WriteString(string(moment(t)))
		end = at[1]
	}
	b.WriteString(template.HTMLEscapeString(s[end:]))
	return template.HTML(b.String())
}

func octets(n int64) string { return humanize.IBytes(uint64(max(0, n))) }

// plural is "1 message", "2 messages".
func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return humanize.Comma(int64(n)) + " " + one + "s"
}

func lasted(d time.Duration) string {
	switch {
	case d <= 0:
		return ""
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	}
	return d.Round(10 * time.Millisecond).String()
}

// reversePath is a sender, of which the empty one is <>.
func reversePath(address string) string { return cmp.Or(address, "<>") }

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// link is a page with a query of names and values; empty values are left out.
func link(page string, pairs ...string) string {
	q := make(url.Values)
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	if len(q) == 0 {
		return cmp.Or(page, "./")
	}
	return page + "?" + q.Encode()
}

// chip is the class of a word that tells how it stands.
func chip(state string) string {
	switch state {
	case "delivered", "up", "accepted", "told", "resumed", "released", "ready", "ok":
		return "good"
	case "failed", "expired", "refused", "down", "dead", "untold", "bounced", "cannot_tell", "wrong":
		return "bad"
	case "deferred", "held", "paused", "deleted", "blocked", "unknown", "disabled", "warn":
		return "warn"
	}
	return "plain"
}
