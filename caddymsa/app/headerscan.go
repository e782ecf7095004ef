package app

import (
	"bytes"

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
	line     int      // octets of the line so far
	start    [10]byte // of the line
}

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
	default:
		h.fields++
		if len(start) >= 9 && bytes.EqualFold(start[:9], []byte("received:")) {
			h.received++
		}
	}
}

func isSpace(ch byte) bool { return ch == ' ' || ch == '\t' }
