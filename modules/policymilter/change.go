package policymilter

import (
	"strings"

	"github.com/d--j/go-milter"
	"github.com/emersion/go-smtp"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/message"
)

// change does what may be done of what the milter wants: put fields before the message, hold it.
func (p *Milter) change(s *caddymsa.Submission, m *caddymsa.Message, changes []milter.ModifyAction) error {
	var added, refused []string
	for _, a := range changes {
		switch a.Type {
		case milter.ActionAddHeader, milter.ActionInsertHeader:
			if f, ok := field(a.HeaderName, a.HeaderValue); ok {
				added = append(added, f)
				continue
			}
			refused = append(refused, "add malformed field "+a.HeaderName)
		case milter.ActionQuarantine:
			s.Entry.Held = "quarantined by milter " + p.Address + ": " + a.Reason
		case milter.ActionChangeHeader:
			refused = append(refused, "change field "+a.HeaderName)
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
	for i := len(added) - 1; i >= 0; i-- {
		m.Prepend(added[i])
	}
	return nil
}

// compact keeps a list that says the same again and again short.
func compact(all []string) (short []string) {
	seen := make(map[string]bool)
	for _, s := range all {
		if !seen[s] {
			short = append(short, s)
		}
		seen[s] = true
	}
	return short
}

// field makes one of what a milter gave, whose lines end in LF or CRLF.
func field(name, value string) (string, bool) {
	if !message.IsName(name) {
		return "", false
	}
	value = strings.ReplaceAll(strings.TrimRight(value, "\r\n"), "\r\n", "\n")
	if strings.ContainsAny(value, "\r\x00") {
		return "", false
	}
	lines := strings.Split(value, "\n")
	for i, line := range lines {
		if len(line) > 900 || i > 0 && (line == "" || line[0] != ' ' && line[0] != '\t' || strings.TrimSpace(line) == "") {
			return "", false
		}
	}
	if value == "" || value[0] != ' ' && value[0] != '\t' {
		value = " " + value
	}
	f := name + ":" + strings.ReplaceAll(value, "\n", "\r\n") + "\r\n"
	return f, len(strings.TrimSpace(value)) > 0
}
