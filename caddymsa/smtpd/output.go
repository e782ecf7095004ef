package smtpd

import (
	"strconv"
	"sync"
	"time"

	"github.com/emersion/go-smtp"
)

// output gathers the replies of one turn, so that they leave in one write (RFC 2920 section 3.2):
// a nine-line EHLO answer is one TLS record.
type output struct {
	conn *Conn
	buf  *[]byte
	err  error // of the first write that failed; nothing is written after it
}

// outputSize is when replies are sent without waiting for the end of the turn.
const outputSize = 4 << 10

var outputBuffers = sync.Pool{New: func() any { b := make([]byte, 0, outputSize); return &b }}

const (
	defaultWrite = 3 * time.Minute // for a client that does not read
	// partingTime is what the last words get when the session's time is over already.
	partingTime = time.Second
)

// maxReply is the longest reply line with its CRLF (RFC 5321 section 4.5.3.1.5).
const maxReply = 512

// line adds a line that is ours, not made of anyone's text.
func (o *output) line(parts ...string) {
	o.open()
	for _, text := range parts {
		*o.buf = append(*o.buf, text...)
	}
	o.end()
}

func (o *output) open() {
	if o.buf == nil {
		o.buf = outputBuffers.Get().(*[]byte)
	}
}

func (o *output) end() {
	*o.buf = append(*o.buf, '\r', '\n')
	if len(*o.buf) > outputSize-maxReply {
		_ = o.flush() // the next fill returns it
	}
}

// flush sends what is due. After an error the client's view of the dialogue is lost, so the
// error stays.
func (o *output) flush() error {
	if o.buf == nil || len(*o.buf) == 0 {
		return o.err
	}
	if o.err == nil {
		o.conn.limitWrites()
		_, o.err = o.conn.nc.Write(*o.buf)
	}
	o.release()
	return o.err
}

func (o *output) release() {
	if o.buf != nil {
		*o.buf = (*o.buf)[:0]
		outputBuffers.Put(o.buf)
		o.buf = nil
	}
}

func code(class, subject, detail int) smtp.EnhancedCode {
	return smtp.EnhancedCode{class, subject, detail}
}

// reply writes a reply with an enhanced code on each line, whose class is the reply's (RFC 2034 section 4), whatever a
// session says. The zero code becomes the general one; smtp.NoEnhancedCode leaves it out.
func (c *Conn) reply(status int, enhanced smtp.EnhancedCode, lines ...string) {
	if enhanced != smtp.NoEnhancedCode {
		enhanced[0] = status / 100
	}
	o := &c.out
	for i, text := range lines {
		o.open()
		start := len(*o.buf)
		b := strconv.AppendInt(*o.buf, int64(status), 10)
		if i < len(lines)-1 {
			b = append(b, '-')
		} else {
			b = append(b, ' ')
		}
		if enhanced != smtp.NoEnhancedCode {
			for j, n := range enhanced {
				b = strconv.AppendInt(b, int64(n), 10)
				b = append(b, "..  "[j])
			}
		}
		*o.buf = appendText(b, text, maxReply-2-(len(b)-start))
		o.end()
	}
}

// appendText keeps a text from becoming two replies, or a line too long for a client. Non-ASCII is
// left out, as few may be sent it (RFC 6531 section 3.7.4).
func appendText(b []byte, s string, room int) []byte {
	for i := 0; i < len(s) && i < room; i++ {
		switch ch := s[i]; {
		case ch < ' ' || ch == 0x7f:
			b = append(b, ' ')
		case ch > 0x7f:
			b = append(b, '?')
		default:
			b = append(b, ch)
		}
	}
	return b
}
