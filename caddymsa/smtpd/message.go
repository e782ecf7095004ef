package smtpd

import (
	"errors"
	"time"

	"github.com/emersion/go-smtp"
)

// message takes the octets of a message, from DATA or BDAT alike, to the session's
// body: it counts them, looks at their line ends, and remembers why the message
// will be refused while the rest of it is read.
type message struct {
	conn  *Conn
	body  Body // nil once it is committed or aborted
	lines newlines
	size  int64
	limit int64

	began    time.Time
	refusal  error // why the message is refused; the rest is read and dropped
	answered bool  // the refusal has been sent, of an earlier chunk
}

// Refusals of a message's content.
var (
	errTooLarge = &smtp.SMTPError{Code: 552, EnhancedCode: smtp.EnhancedCode{5, 3, 4}, Message: "Message exceeds the size limit"}
	errNewlines = &smtp.SMTPError{Code: 554, EnhancedCode: smtp.EnhancedCode{5, 6, 0}, Message: "Message has bare CR, bare LF or NUL: lines end in CRLF"}
)

// begin opens the transaction's body. The transaction is the message's from then on.
func (c *Conn) begin() (*message, error) {
	body, err := c.tx.Begin(c.ctx)
	if err != nil {
		return nil, err
	}
	return &message{conn: c, body: body, lines: newlines{normalize: c.settings.NormalizeNewlines},
		limit: c.messageSize(), began: c.options.Now()}, nil
}

// write takes the next octets.
func (m *message) write(p []byte) {
	m.size += int64(len(p))
	if m.refusal != nil || len(p) == 0 {
		return
	}
	if m.size > m.limit {
		m.refuse(errTooLarge)
		return
	}
	p, sound := m.lines.check(p)
	if !sound {
		m.refuse(errNewlines)
		return
	}
	if _, err := m.body.Write(p); err != nil {
		m.refuse(err)
	}
}

// refuse gives the body up; the reply comes at the message's end.
func (m *message) refuse(err error) {
	m.refusal = err
	m.abort(err)
}

func (m *message) abort(cause error) {
	if m.body != nil {
		if cause == nil {
			cause = errors.New("the client gave it up")
		}
		m.body.Abort(cause)
		m.body = nil
	}
}

// commit is called at the end of a whole message, and replies.
func (m *message) commit() error {
	c := m.conn
	c.tx, c.chunks, c.recipients, c.refusedRcpts, c.utf8 = nil, nil, 0, 0, false
	if m.refusal == nil {
		p, sound := m.lines.end()
		if !sound {
			m.refuse(errNewlines)
		} else if len(p) > 0 {
			if _, err := m.body.Write(p); err != nil {
				m.refuse(err)
			}
		}
	}
	if m.refusal != nil {
		return c.refused(m.refusal)
	}
	body := m.body
	m.body = nil
	reply, err := body.Commit(c.ctx)
	if err != nil {
		return c.refused(err)
	}
	c.reply(reply.Code, reply.Enhanced, reply.Text)
	return nil
}

// hopeless tells whether a message is so far over the limit that reading on to be
// polite costs more than it is worth.
func (m *message) hopeless() bool { return m.size > 2*m.limit+(8<<20) }

// dataRate is the least that a body must bring in octets a second, by default.
const dataRate = 100

// tooSlow tells whether a body trickles, by its average after the first minute.
func (m *message) tooSlow() bool {
	rate := orDefault(m.conn.settings.DataRate, dataRate)
	elapsed := m.conn.options.Now().Sub(m.began)
	return rate > 0 && elapsed > time.Minute && m.size < rate*int64(elapsed/time.Second)
}

// wait sets the deadline for the next block (RFC 5321 section 4.5.3.2.5).
func (m *message) wait() {
	m.conn.waitUntil(m.conn.deadline(orDefault(m.conn.settings.Data, defaultData)))
}

// lost ends the session because the rest of a message did not come: what follows
// is never read as commands.
func (m *message) lost(err error) error {
	c := m.conn
	if isTimeout(err) {
		m.abort(err)
		return c.close421(code(4, 4, 2), "Timeout in the message, closing the connection", EndTimeout)
	}
	m.abort(err)
	return err
}

// blocked ends the session if the body must not go on, else it is nil.
func (m *message) blocked() error {
	c := m.conn
	switch {
	case m.hopeless():
		c.reply(552, code(5, 3, 4), "Message exceeds the size limit")
		return c.close421(code(4, 3, 0), "Closing the connection", EndRefused)
	case m.tooSlow():
		m.abort(errors.New("the message came too slowly"))
		return c.close421(code(4, 4, 2), "Message comes too slowly, closing the connection", EndTimeout)
	}
	return nil
}
