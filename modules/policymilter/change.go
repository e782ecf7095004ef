package policymilter

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/d--j/go-milter"
	"github.com/emersion/go-smtp"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/message"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// change does what may be done of what the milter wants: put fields before the message, hold it.
func (p *Milter) change(s *caddymsa.Submission, m *caddymsa.Message, changes []milter.ModifyAction) error {
	told, err := headerOf(m)
	if err != nil {
		return err
	}
	added := additions{told: told}
	var refused []string
	for _, a := range changes {
		switch a.Type {
		case milter.ActionAddHeader, milter.ActionInsertHeader:
			if !added.add(a.HeaderName, a.HeaderValue) {
				refused = append(refused, "add malformed field "+a.HeaderName)
			}
		case milter.ActionQuarantine:
			s.Held = "quarantined by milter " + p.Address + ": " + queue.OneLine(a.Reason)
		case milter.ActionChangeHeader:
			if !added.change(a.HeaderName, int64(a.HeaderIndex), a.HeaderValue) {
				refused = append(refused, "change field "+a.HeaderName)
			}
		case milter.ActionReplaceBody:
			refused = append(refused, "replace body")
		case milter.ActionChangeFrom:
			refused = append(refused, "change sender")
		default:
			refused = append(refused, "change recipients")
		}
	}
	if len(refused) > 0 {
		p.log.Warn("a milter wants something changed that was submitted, which is not done", append(fields(s), zap.String("milter", p.Address), zap.Strings("changes", compact(refused)), zap.String("on_change", p.OnChange))...)
		switch p.OnChange {
		case caddymsa.FailRefuse:
			return &caddymsa.Refusal{Code: 554, Status: smtp.EnhancedCode{5, 7, 1}, Rule: "change", Text: "Message would have to be changed"}
		case caddymsa.FailTempfail:
			return &caddymsa.Refusal{Code: 451, Status: smtp.EnhancedCode{4, 3, 0}, Rule: "change", Text: "Message cannot be taken now, try again later"}
		}
	}
	for _, f := range slices.Backward(added.fields) {
		m.Prepend(string(f.Raw))
	}
	return nil
}

// maxTold is how many changes that are not made are in a line of the log.
const maxTold = 20

// compact keeps a list short, which may say the same again and again.
func compact(all []string) (short []string) {
	seen := make(map[string]bool)
	for _, s := range all {
		if !seen[s] && len(seen) < maxTold {
			short = append(short, queue.OneLine(s))
		}
		seen[s] = true
	}
	if more := len(seen) - len(short); more > 0 {
		short = append(short, fmt.Sprintf("%d more", more))
	}
	return short
}

// maxLine and foldAt are how long lines may be, and should be (RFC 5322 section 2.1.1), without CRLF.
const (
	maxLine = message.MaxLine
	foldAt  = message.FoldAt
)

// field makes one of what a milter gave, whose lines end in LF or CRLF. Folds that are none are made so,
// and lines that are too long are folded between words.
func field(name, value string) (string, bool) {
	value = strings.ReplaceAll(strings.TrimRight(value, "\r\n"), "\r\n", "\n")
	if !message.IsName(name) || strings.ContainsAny(value, "\r\x00") {
		return "", false
	}
	var b strings.Builder
	for i, line := range strings.Split(value, "\n") {
		blank := strings.TrimSpace(line) == ""
		switch {
		case i == 0 && blank:
			line = name + ":"
		case i == 0 && (line[0] == ' ' || line[0] == '\t'):
			line = name + ":" + line
		case i == 0:
			line = name + ": " + line
		case blank: // RFC 5322 section 3.2.2
			continue
		case line[0] != ' ' && line[0] != '\t':
			line = "\t" + line
		}
		if len(line) > maxLine {
			line = fold(line)
		}
		b.WriteString(line + "\r\n")
	}
	for line := range strings.Lines(b.String()) {
		if len(line) > maxLine+len("\r\n") {
			return "", false
		}
	}
	return b.String(), true
}

// fold breaks a line before white space, which it does not end in then.
func fold(line string) string {
	line = strings.TrimRightFunc(line, unicode.IsSpace)
	var b strings.Builder
	for len(line) > foldAt {
		first := len(line) - len(strings.TrimLeft(line, " \t"))
		at := strings.LastIndexAny(line[:foldAt], " \t")
		if at <= first { // a word that is too long for the line
			if at = strings.IndexAny(line[first:], " \t"); at < 0 {
				break
			}
			at += first
		}
		b.WriteString(line[:at] + "\r\n")
		line = line[at:]
	}
	return b.String() + line
}
