package caddymsa

import (
	"fmt"
	"strings"

	"github.com/emersion/go-smtp"
)

// Refusal is what a policy says no with. The client reads its text, and the policy's and the
// rule's name behind it.
type Refusal struct {
	// Code and Status of the reply, 4yz if the client should try again and 5yz if not.
	Code   int
	Status smtp.EnhancedCode
	// Text for the client, which names nothing of our insides. Octets that have no place in a
	// reply are replaced, so it may come from elsewhere.
	Text string
	// Rule of the policy's that refused, as the operator knows it. Empty: there is but one.
	Rule string
	// Err is the cause, for the log only.
	Err error
}

// Error has all of it, for the log.
func (r *Refusal) Error() string {
	s := ReplyText(r.Reply(""))
	if r.Err != nil {
		s += ": " + r.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (r *Refusal) Unwrap() error { return r.Err }

// Reply is what the client gets, with the name of the policy that refused.
func (r *Refusal) Reply(policy string) *smtp.SMTPError {
	text := ReplyLine(r.Text)
	switch by := strings.Trim(policy+": "+ReplyLine(r.Rule), ": "); {
	case policy == "":
	case text == "":
		text = "Refused by " + by
	default:
		text += " (" + by + ")"
	}
	return &smtp.SMTPError{Code: r.Code, EnhancedCode: r.Status, Message: text}
}

// maxReplyLine leaves room in the 512 octets of a reply line (RFC 5321 section 4.5.3.1.5)
// for codes and names.
const maxReplyLine = 300

// ReplyLine makes one line of printable ASCII of any text.
func ReplyLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return ' '
		}
		return r
	}, s)
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > maxReplyLine {
		s = s[:maxReplyLine] + "..."
	}
	return s
}

// AlreadyAccepted is what a message policy returns for a submission that has come
// before: the client gets 250 with the first one's queue id, and nothing is stored.
type AlreadyAccepted struct{ ID string }

func (a *AlreadyAccepted) Error() string { return "accepted before as " + a.ID }

// Refuse returns a refusal of class 5 with status 5.7.1: do not try again.
func Refuse(rule, format string, args ...any) error {
	return &Refusal{Code: 550, Status: smtp.EnhancedCode{5, 7, 1}, Rule: rule, Text: fmt.Sprintf(format, args...)}
}

// ReplyText is a reply as it stands in the log.
func ReplyText(r *smtp.SMTPError) string {
	if r.EnhancedCode[0] <= 0 { // none, as in replies to EHLO
		return fmt.Sprintf("%d %s", r.Code, r.Message)
	}
	return fmt.Sprintf("%d %d.%d.%d %s", r.Code, r.EnhancedCode[0], r.EnhancedCode[1], r.EnhancedCode[2], r.Message)
}
