package smtpd

import (
	"errors"
	"strings"

	"github.com/emersion/go-smtp"
)

const textBadCommands = "Too many bad commands, closing the connection"

// bad refuses a command that was not understood, or came out of order: these are counted, and
// the answer to the last is the 421.
func (c *Conn) bad(status int, enhanced smtp.EnhancedCode, text string) error {
	return c.badFor(text, status, enhanced, text)
}

// badFor is bad where the client hears another reason than the session.
func (c *Conn) badFor(why string, status int, enhanced smtp.EnhancedCode, text string) error {
	c.end.BadCommands++
	if c.end.BadCommands >= orDefault(c.settings.BadCommands, 20) {
		return c.last(why, textBadCommands, EndBadCommands)
	}
	c.reply(status, enhanced, text)
	c.tell(status, enhanced, text, why)
	return nil
}

// no refuses a command that may be right elsewhere or later: it is not counted.
func (c *Conn) no(status int, enhanced smtp.EnhancedCode, text string) error {
	c.reply(status, enhanced, text)
	c.tell(status, enhanced, text, text)
	return nil
}

// last answers a command with the 421 that ends the session, and tells why it was refused.
func (c *Conn) last(why, text, reason string) error {
	c.tell(421, code(4, 7, 0), text, why)
	return c.close421(code(4, 7, 0), text, reason)
}

// maxToldArg bounds what the log may hold of a client's line.
const maxToldArg = 300

// told are the verbs whose refusals the session hears of: those that a client cannot do without.
func told(verb string) bool {
	switch verb {
	case "EHLO", "HELO", "AUTH", "MAIL", "RCPT", "DATA", "BDAT":
		return true
	}
	return false
}

// toldArg is what may be told of a command's argument: names and addresses. The rest is a client
// that lost its place, whose next line may be a password.
func toldArg(verb, arg string) string {
	switch verb {
	case "EHLO", "HELO", "MAIL", "RCPT":
		return arg[:min(len(arg), maxToldArg)]
	case "AUTH": // what follows the mechanism is a secret, and so is what stands in its place
		mechanism, _, _ := strings.Cut(arg, " ")
		if len(mechanism) <= 20 && strings.Trim(mechanism, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") == "" { // RFC 4422 section 3.1
			return mechanism
		}
	case "BDAT":
		size, _, _ := strings.Cut(arg, " ")
		if len(size) <= 20 && strings.Trim(size, "0123456789") == "" {
			return size
		}
	}
	return ""
}

// tell reports a refusal of ours to the session.
func (c *Conn) tell(status int, enhanced smtp.EnhancedCode, text, why string) {
	if !told(c.verb) {
		return
	}
	arg := toldArg(c.verb, c.arg)
	c.session.Refused(Refusal{Verb: c.verb, Arg: strings.Clone(arg), Reason: why,
		Reply: &smtp.SMTPError{Code: status, EnhancedCode: enhanced, Message: text}})
}

// errorReply is what the client hears of an error of the session's.
func errorReply(err error) *smtp.SMTPError {
	var reply *smtp.SMTPError
	if errors.As(err, &reply) && reply.Code >= 400 && reply.Code < 600 {
		return reply
	}
	return &smtp.SMTPError{Code: 451, EnhancedCode: code(4, 3, 0), Message: "Temporary failure, try again later"}
}

// refused passes on an error of the session's. 421 closes (RFC 5321 section 3.8).
func (c *Conn) refused(err error) error {
	r := errorReply(err)
	if r.Code == 421 {
		return c.close421(r.EnhancedCode, r.Message, EndRefused)
	}
	c.reply(r.Code, r.EnhancedCode, textLines(r.Message)...)
	return nil
}

// turnedAway says, in place of the greeting, that there will be no session.
func (c *Conn) turnedAway(err error) error {
	r := errorReply(err)
	if r.Code == 451 {
		return c.close421(r.EnhancedCode, r.Message, EndRefused)
	}
	c.reply(r.Code, r.EnhancedCode, r.Message)
	if err := c.out.flush(); err != nil {
		return err
	}
	return &stop{reason: EndRefused, err: err}
}

// maxReplyLines bounds what a policy has to say, or the next hop through it.
const maxReplyLines = 8

func textLines(s string) []string {
	lines := strings.Split(strings.TrimRight(s, "\r\n"), "\n")
	return lines[:min(len(lines), maxReplyLines)]
}

// close421 says that the connection closes, and makes the end of the session of it.
func (c *Conn) close421(enhanced smtp.EnhancedCode, text, reason string) error {
	c.reply(421, enhanced, text)
	if err := c.out.flush(); err != nil {
		return err
	}
	return &stop{reason: reason, err: errors.New(text)}
}
