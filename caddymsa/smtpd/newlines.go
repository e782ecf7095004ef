package smtpd

import "bytes"

// newlines looks for octets that mail must not have: CR or LF alone (RFC 5321 section
// 2.3.8) and NUL. Servers disagree on what they mean, and messages are smuggled
// through such gaps. They are refused or normalized.
type newlines struct {
	normalize bool
	lastCR    bool // the octet before was a CR whose LF has not come yet
	scratch   []byte
}

// check returns what is to be stored of p, valid until the next call, and whether it is sound.
func (n *newlines) check(p []byte) ([]byte, bool) {
	if n.sound(p) {
		return p, true
	}
	if !n.normalize {
		return nil, false
	}
	return n.rewrite(p), true
}

// sound is the fast path. It leaves lastCR as it is if p is not sound. When
// normalizing, a CR at p's end is not sound, as its LF belongs to what is stored with it.
func (n *newlines) sound(p []byte) bool {
	if n.lastCR && (n.normalize || p[0] != '\n') || bytes.IndexByte(p, 0) >= 0 {
		return false
	}
	rest := p
	if n.lastCR {
		rest = p[1:]
	}
	for len(rest) > 0 {
		i := bytes.IndexByte(rest, '\n')
		if i < 0 {
			i = bytes.IndexByte(rest, '\r')
			if i >= 0 && (i < len(rest)-1 || n.normalize) {
				return false
			}
			n.lastCR = i >= 0
			return true
		}
		if i == 0 || rest[i-1] != '\r' || bytes.IndexByte(rest[:i-1], '\r') >= 0 {
			return false
		}
		rest = rest[i+1:]
	}
	n.lastCR = false
	return true
}

// rewrite makes CRLF of every line end and drops NUL. A CR at the end waits for what follows it.
func (n *newlines) rewrite(p []byte) []byte {
	n.scratch = n.scratch[:0]
	for _, ch := range p {
		switch {
		case ch == 0:
			continue
		case ch == '\n': // whether a CR came before or not
			n.scratch = append(n.scratch, '\r', '\n')
			n.lastCR = false
			continue
		case n.lastCR:
			n.scratch = append(n.scratch, '\r', '\n')
			n.lastCR = false
		}
		if ch == '\r' {
			n.lastCR = true
			continue
		}
		n.scratch = append(n.scratch, ch)
	}
	return n.scratch
}

// end returns what is still to be stored, and whether the message ends soundly.
func (n *newlines) end() ([]byte, bool) {
	if !n.lastCR {
		return nil, true
	}
	return []byte("\r\n"), n.normalize
}
