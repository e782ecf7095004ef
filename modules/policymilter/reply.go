package policymilter

import (
	"fmt"
	"strings"

	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa"
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
		lines = append(lines, strings.TrimSpace(line[min(4, len(line)):]))
	}
	text := strings.Join(lines, " ")
	var status smtp.EnhancedCode
	if n, err := fmt.Sscanf(text, "%d.%d.%d", &status[0], &status[1], &status[2]); n == 3 && err == nil && status[0] == code/100 &&
		status[1] >= 0 && status[1] <= 999 && status[2] >= 0 && status[2] <= 999 {
		r.Status = status
		for i := range lines {
			lines[i] = strings.TrimSpace(strings.TrimPrefix(lines[i], fmt.Sprintf("%d.%d.%d", status[0], status[1], status[2])))
		}
		text = strings.Join(lines, " ")
	}
	r.Text = text
	return r
}
