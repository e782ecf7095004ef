package nexthop

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa/enhanced"
)

// reply is what a next hop says to a command (RFC 5321 section 4.2).
type reply struct {
	code  int
	lines []string // what stands behind the code in each line, often nothing
}

// positive tells whether the command was carried out. Of a code the first digit says that (RFC 5321 section 4.2).
func (r reply) positive() bool { return r.code/100 == 2 }

// goesOn tells whether it wants more, as DATA does.
func (r reply) goesOn() bool { return r.code/100 == 3 }

// negative tells whether the command was refused, for now or for good.
func (r reply) negative() bool { return r.code/100 == 4 || r.code/100 == 5 }

const (
	// maxReply bounds a reply, and so what a hop that does not stop talking costs.
	maxReply = 1 << 20
	// maxKept bounds what is kept of its lines.
	maxKept = 64 << 10
	// maxText bounds what is kept of a reply.
	maxText = 2 << 10
)

var errEndless = errors.New("the next hop does not stop talking")

// readReply reads one reply, whose code is the last line's. The text behind a code is optional, also in the last line of
// several; a bare LF or several CRs end a line; lines between the first and the last may lack the code; of codes of one class
// the last one counts: what hops get wrong costs nobody a message.
func readReply(r *bufio.Reader) (reply, error) {
	var whole reply
	for total, first := 0, true; ; first = false {
		line, n, err := readLine(r, maxReply-total)
		if err != nil {
			return reply{}, err
		}
		total += n
		code, text, more, err := parseReplyLine(line)
		switch {
		case err != nil && !first && (len(line) == 0 || !isDigit(line[0])): // text in a banner, without its code
			code, text, more = whole.code, string(line), true
		case err != nil:
			return reply{}, err
		case !first && whole.code/100 != code/100:
			return reply{}, fmt.Errorf("the lines of one reply have the codes %d and %d", whole.code, code)
		}
		whole.code = code
		if first || total <= maxKept {
			whole.lines = append(whole.lines, text)
		}
		if !more {
			return whole, nil
		}
	}
}

// readLine reads a line of n octets, up to limit, and returns as much of it as is worth keeping, without its end.
func readLine(r *bufio.Reader, limit int) (line []byte, n int, err error) {
	line, err = r.ReadSlice('\n')
	n = len(line)
	if err == bufio.ErrBufferFull {
		line = bytes.Clone(line)
		for err == bufio.ErrBufferFull && n <= limit {
			var more []byte
			more, err = r.ReadSlice('\n')
			n += len(more)
			line = append(line, more[:min(len(more), maxKept-len(line))]...)
		}
	}
	switch {
	case n > limit:
		return nil, n, errEndless
	case err != nil:
		return nil, n, err
	}
	return bytes.TrimRight(line, "\r\n"), n, nil
}

// parseReplyLine parses "250", "250 text" or "250-text".
func parseReplyLine(line []byte) (code int, text string, more bool, err error) {
	isReply := len(line) >= 3 && line[0] >= '2' && line[0] <= '5' && isDigit(line[1]) && isDigit(line[2]) &&
		(len(line) == 3 || line[3] == ' ' || line[3] == '-' || line[3] == '\t')
	if !isReply {
		return 0, "", false, fmt.Errorf("not a reply: %q", line[:min(len(line), 80)])
	}
	code = int(line[0]-'0')*100 + int(line[1]-'0')*10 + int(line[2]-'0')
	if len(line) == 3 {
		return code, "", false, nil
	}
	return code, string(line[4:]), line[3] == '-', nil
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// smtp is the reply in go-smtp's terms: the enhanced code apart (RFC 2034), and the text in lines.
func (r reply) smtp() *smtp.SMTPError {
	e := &smtp.SMTPError{Code: r.code}
	var text strings.Builder
	for i, line := range r.lines {
		if code, rest, ok := enhanced.Cut(line); ok && code[0] == r.code/100 && (e.EnhancedCode == smtp.EnhancedCode{} || code == e.EnhancedCode) {
			e.EnhancedCode, line = code, rest
		}
		if i > 0 {
			text.WriteByte('\n')
		}
		text.WriteString(line)
		if text.Len() > maxText {
			break
		}
	}
	e.Message = text.String()
	if len(e.Message) > maxText {
		e.Message = strings.ToValidUTF8(e.Message[:maxText], "")
	}
	return e
}

// tooMany tells whether a reply to RCPT means that the transaction has as many recipients as it may
// have (RFC 5321 section 4.5.3.1.10): 452, or 552 of older hops, unless an enhanced code says something
// else, or the enhanced code that says so; and what hops say in words only.
func tooMany(e *smtp.SMTPError) bool {
	return saysTooMany(e) || oneDomain.MatchString(e.Message) || e.EnhancedCode == (smtp.EnhancedCode{}) && (e.Code == 452 || e.Code == 552)
}

// saysTooMany tells whether a reply says so, of which words prove nothing: who follows them has to bear that they were
// meant otherwise.
func saysTooMany(e *smtp.SMTPError) bool {
	return e.EnhancedCode[1] == 5 && e.EnhancedCode[2] == 3 || tooManyWords.MatchString(e.Message)
}

var tooManyWords = regexp.MustCompile(`(?i)\b(too many|max|maximum) (rcpt|recipient)s|\b(rcpt|recipient)s? (count|limit|number)\b|\b(number|count|limit) of (rcpt|recipient)s`)

// oneDomain is what some say who take recipients of one domain at a time and have no LIMITS.
var oneDomain = regexp.MustCompile(`(?i)\bmultiple (destination |recipient )?domains`)
