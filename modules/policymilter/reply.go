package policymilter

import (
	"strings"

	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/enhanced"
)

// refusal takes a milter's own reply apart. A 421 is about this message and not about the session.
func refusal(code int, reply string) error {
	r := &caddymsa.Refusal{Code: code, Status: smtp.EnhancedCode{code / 100, 7, 1}, Rule: "reply"}
	if code == 421 {
		r.Code = 451
	}
	var lines []string
	reply = strings.ReplaceAll(reply, "%%", "%") // as smfi_setreply wants it written
	for line := range strings.Lines(reply) {
		line = strings.TrimSpace(line)
		line = strings.TrimSpace(line[min(4, len(line)):])
		if status, rest, ok := enhanced.Cut(line); ok && status[0] == code/100 && (len(lines) == 0 || status == r.Status) {
			r.Status, line = status, strings.TrimSpace(rest)
		}
		lines = append(lines, line)
	}
	r.Text = strings.Join(lines, " ")
	return r
}
