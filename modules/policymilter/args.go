package policymilter

import (
	"strconv"
	"strings"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
	"github.com/caddy-msa/caddy-msa/caddymsa/xtext"
)

// mailArgs are the parameters of MAIL as a milter gets them, each with a NUL behind it. The library puts one behind the last.
func mailArgs(s *caddymsa.Submission) string {
	var args []string
	if s.DeclaredSize > 0 {
		args = append(args, "SIZE="+strconv.FormatInt(s.DeclaredSize, 10))
	}
	e := s.Entry
	if e.Body != "" {
		args = append(args, "BODY="+e.Body)
	}
	if e.SMTPUTF8 {
		args = append(args, "SMTPUTF8")
	}
	if e.Return != "" {
		args = append(args, "RET="+e.Return)
	}
	if e.EnvelopeID != "" {
		args = append(args, "ENVID="+xtext.Encode(e.EnvelopeID))
	}
	return strings.Join(args, "\x00")
}

// rcptArgs are those of RCPT.
func rcptArgs(r *queue.Recipient) string {
	var args []string
	if len(r.Notify) > 0 {
		args = append(args, "NOTIFY="+strings.Join(r.Notify, ","))
	}
	if r.ORCPT != "" {
		args = append(args, "ORCPT="+r.ORCPT)
	}
	return strings.Join(args, "\x00")
}
