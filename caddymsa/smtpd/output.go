package smtpd

import (
	"errors"
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
}

// outputSize is when replies are sent without waiting for the end of the turn.
const outputSize = 4 << 10

var outputBuffers = sync.Pool{New: func() any { b := make([]byte, 0, outputSize); return &b }}

// writeTimeout is for a client that does not read.
const writeTimeout = 3 * time.Minute

func (o *output) line(text string) {
	if o.buf == nil {
		o.buf = outputBuffers.Get().(*[]byte)
	}
	*o.buf = append(append(*o.buf, text...), '\r', '\n')
	if len(*o.buf) > outputSize-512 {
		_ = o.flush() // an error comes back with the next read
	}
}

func (o *output) flush() error {
	if o.buf == nil || len(*o.buf) == 0 {
		return nil
	}
	_ = o.conn.nc.SetWriteDeadline(time.Now().Add(writeTimeout))
	_, err := o.conn.nc.Write(*o.buf)
	*o.buf = (*o.buf)[:0]
	o.release()
	return err
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

// reply writes a reply with an enhanced code on each line (RFC 2034 section 4).
func (c *Conn) reply(status int, enhanced smtp.EnhancedCode, lines ...string) {
	for i, text := range lines {
		b := make([]byte, 0, 64)
		b = strconv.AppendInt(b, int64(status), 10)
		if b = append(b, ' '); i < len(lines)-1 {
			b[3] = '-'
		}
		for j, n := range enhanced {
			if j > 0 {
				b = append(b, '.')
			}
			b = strconv.AppendInt(b, int64(n), 10)
		}
		b = append(append(b, ' '), oneLine(text)...)
		c.out.line(string(b))
	}
}

// oneLine keeps a text from becoming two replies.
func oneLine(s string) string {
	b := []byte(s)
	for i, ch := range b {
		if ch < ' ' || ch == 0x7f {
			b[i] = ' '
		}
	}
	return string(b)
}

// bad refuses a command that was not understood, or came out of order: these are counted.
func (c *Conn) bad(status int, enhanced smtp.EnhancedCode, text string) error {
	c.reply(status, enhanced, text)
	c.end.BadCommands++
	if c.end.BadCommands >= orDefault(c.settings.BadCommands, 20) {
		return c.close421(code(4, 7, 0), "Too many bad commands, closing the connection", EndBadCommands)
	}
	return nil
}

// errorReply is what the client hears of an error of the session's.
func (c *Conn) errorReply(err error) *smtp.SMTPError {
	var reply *smtp.SMTPError
	if errors.As(err, &reply) {
		return reply
	}
	return &smtp.SMTPError{Code: 451, EnhancedCode: code(4, 3, 0), Message: "Temporary failure, try again later"}
}

// refused passes on an error of the session's. 421 closes (RFC 5321 section 3.8).
func (c *Conn) refused(err error) error {
	r := c.errorReply(err)
	if r.Code == 421 {
		return c.close421(r.EnhancedCode, r.Message, EndRefused)
	}
	c.reply(r.Code, r.EnhancedCode, r.Message)
	return nil
}
