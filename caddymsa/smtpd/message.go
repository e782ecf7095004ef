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
	conn *Conn
	body Body // nil once it is committed or aborted
	intake

	spell    time.Time     // when reading went on
	spent    time.Duration // reading before that
	refusal  error         // why the message is refused; the rest is read and dropped
	answered bool          // the refusal has been sent, of an earlier chunk
}

var errTooLarge = &smtp.SMTPError{Code: 552, EnhancedCode: smtp.EnhancedCode{5, 3, 4}, Message: "Message exceeds the size limit"}

// begin opens the transaction's body. The transaction is the message's from then on.
func (c *Conn) begin() (*message, error) {
	body, err := c.tx.Begin(c.ctx)
	if err != nil {
		return nil, err
	}
	return &message{conn: c, body: body, intake: c.settings.intake()}, nil
}

// doomed is a message of which every octet is dropped.
func (c *Conn) doomed(refusal error) *message {
	return &message{conn: c, refusal: refusal, intake: c.settings.intake()}
}

// write takes the next octets.
func (m *message) write(p []byte) {
	if m.refusal != nil {
		m.size += int64(len(p))
		return
	}
	if err := m.take(p, m.body); err != nil {
		m.refuse(err)
	}
}

// refuse gives the body up; the reply comes at the message's end.
func (m *message) refuse(err error) {
	m.refusal = err
	m.abort(err)
}

func (m *message) abort(cause error) {
	if body := m.body; body != nil {
		m.body = nil // first, as Abort may panic
		if cause == nil {
			cause = errors.New("the client gave it up")
		}
		body.Abort(cause)
	}
}

// commit is called at the end of a whole message, and replies.
func (m *message) commit() error {
	c := m.conn
	if m.refusal == nil {
		if err := m.last(m.body); err != nil {
			m.refuse(err)
		}
	}
	c.forget()
	if m.refusal != nil {
		return c.refused(m.refusal)
	}
	body := m.body
	m.body = nil
	reply, err := body.Commit(c.ctx)
	if err != nil {
		return c.refused(err)
	}
	c.reply(reply.Code, reply.Enhanced, textLines(reply.Text)...)
	return nil
}

// lost ends the session because the rest of a message did not come: what follows
// is never read as commands.
func (m *message) lost(err error) error {
	if isTimeout(err) {
		return m.breakOff("Timeout in the message, closing the connection")
	}
	m.abort(err)
	return err
}

// breakOff refuses a message that is not worth waiting for, and ends the session.
func (m *message) breakOff(why string) error {
	m.abort(&smtp.SMTPError{Code: 421, EnhancedCode: code(4, 4, 2), Message: why})
	return m.conn.close421(code(4, 4, 2), why, EndTimeout)
}
