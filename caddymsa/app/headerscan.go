package app

import (
	"bytes"
	"strings"

	"github.com/emersion/go-smtp"
)

// headerScan looks at a message's header as it streams by, for what no policy is needed to refuse:
// a header that is beyond reason, a mail loop, and a message that would become part of our own
// fields, which are put before it.
type headerScan struct {
	limits *Limits

	over     bool // the header has ended
	octets   int64
	fields   int
	received int
	line     int            // octets of the line so far
	start    [maxStart]byte // of the line
	id       string         // the first Message-ID, for the log
	idFolds  bool           // its value begins on the next line
}

// maxStart is how much of each line is looked at: of a Message-ID that is longer the log has the beginning.
const maxStart = 256

var (
	errFirstLine = &smtp.SMTPError{Code: 554, EnhancedCode: smtp.EnhancedCode{5, 6, 0},
		Message: "Message begins with white space: its first line would continue a field of the server's"}
	errHeaderSize   = &smtp.SMTPError{Code: 554, EnhancedCode: smtp.EnhancedCode{5, 6, 0}, Message: "Message header is too large"}
	errHeaderFields = &smtp.SMTPError{Code: 554, EnhancedCode: smtp.EnhancedCode{5, 6, 0}, Message: "Message header has too many fields"}
)

// scan takes the next octets of a message.
func (h *headerScan) scan(p []byte) error {
	if h.octets == 0 && !h.over && len(p) > 0 && (isSpace(p[0]) || p[0] == '\v' || p[0] == '\f') { // these are white space to some
		return errFirstLine
	}
	for !h.over && len(p) > 0 {
		part, rest, ended := bytes.Cut(p, []byte("\n"))
		if h.line < len(h.start) {
			copy(h.start[h.line:], part)
		}
		n := len(part)
		if ended {
			n++
		}
		h.octets += int64(n)
		h.line += len(part)
		if ended {
			h.endLine()
		}
		switch p = rest; {
		case h.octets > h.limits.HeaderSize:
			return errHeaderSize
		case h.fields > h.limits.HeaderFields:
			return errHeaderFields
		case h.received >= h.limits.ReceivedFields:
			return errLoop
		}
	}
	return nil
}

func (h *headerScan) endLine() {
	start := h.start[:min(h.line, len(h.start))]
	h.line = 0
	switch {
	case len(bytes.TrimRight(start, "\r")) == 0:
		h.over = true
	case isSpace(start[0]): // folded
		if h.idFolds {
			h.id, h.idFolds = string(bytes.TrimSpace(start)), false
		}
	default:
		h.fields++
		h.idFolds = false
		if begins(start, "received:") {
			h.received++
		} else if h.id == "" && begins(start, "message-id:") {
			h.id = string(bytes.TrimSpace(start[len("message-id:"):]))
			h.idFolds = h.id == ""
		}
	}
}

func begins(line []byte, name string) bool {
	return len(line) >= len(name) && strings.EqualFold(string(line[:len(name)]), name)
}

func isSpace(ch byte) bool { return ch == ' ' || ch == '\t' }
