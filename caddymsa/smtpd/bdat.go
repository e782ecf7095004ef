package smtpd

import (
	"errors"
	"strconv"
	"strings"

	"github.com/emersion/go-smtp"
)

// maxRefusedChunk is how many octets of a chunk from a stranger are read to be dropped.
const maxRefusedChunk = 64 << 10

// cmdBDAT is RFC 3030's. The octets of a chunk follow whether it is honoured or not, so
// they are always read, and never as commands.
func (c *Conn) cmdBDAT(arg string) error {
	size, last, err := parseChunk(arg)
	now := c.state()
	if err != nil {
		if now == inClear {
			return c.gate()
		}
		if err := c.bad(501, code(5, 5, 4), err.Error()); err != nil {
			return err
		}
		return c.close421(code(4, 7, 0), "Cannot tell how much follows, closing the connection", EndBadCommands)
	}
	switch now {
	case inClear, new_, greeted:
		return c.strangersChunk(now, size)
	case ready, inMail:
		return c.refuseChunk(size, &smtp.SMTPError{Code: 503, EnhancedCode: code(5, 5, 1), Message: "Send MAIL and RCPT first"})
	case inRcpt:
		m, err := c.begin()
		if err != nil {
			// The transaction is over, but chunks that are on their way already
			// must find it failed, not missing.
			c.tx.Abort()
			m = &message{conn: c, refusal: err, limit: c.messageSize(), began: c.options.Now()}
		}
		c.chunks = m
	}
	return c.chunk(c.chunks, size, last)
}

func parseChunk(arg string) (size int64, last bool, err error) {
	words := strings.Fields(arg)
	if len(words) == 2 && strings.EqualFold(words[1], "LAST") {
		last, words = true, words[:1]
	}
	if len(words) != 1 || strings.Trim(words[0], "0123456789") != "" || len(words[0]) > 18 {
		return 0, false, errors.New("BDAT takes a number of octets, and LAST")
	}
	size, err = strconv.ParseInt(words[0], 10, 64)
	return size, last, err
}

// chunk reads the octets of one chunk into the message.
func (c *Conn) chunk(m *message, size int64, last bool) error {
	failed := m.refusal != nil // an earlier chunk: it was answered then
	total := m.size + size
	for left := size; left > 0; {
		m.wait()
		p, err := c.in.take(left)
		if err != nil {
			return m.lost(err)
		}
		left -= int64(len(p))
		m.write(p)
		if err := m.blocked(); err != nil {
			m.abort(err)
			return err
		}
	}
	switch {
	case failed && m.answered:
		if last {
			c.endChunks()
		}
		return c.bad(503, code(5, 5, 1), "An earlier chunk was refused; send RSET")
	case m.refusal != nil:
		m.answered = true
		err := c.refused(m.refusal)
		if last {
			c.endChunks()
		}
		return err
	case last:
		return m.commit()
	}
	c.reply(250, code(2, 0, 0), strconv.FormatInt(total, 10)+" octets received")
	return nil
}

// endChunks ends a transaction whose message was refused.
func (c *Conn) endChunks() {
	c.tx, c.chunks, c.recipients, c.refusedRcpts, c.utf8 = nil, nil, 0, 0, false
}

// refuseChunk reads a chunk and drops it.
func (c *Conn) refuseChunk(size int64, r *smtp.SMTPError) error {
	m := &message{conn: c, refusal: r, limit: c.messageSize(), began: c.options.Now()}
	for left := size; left > 0; {
		m.wait()
		p, err := c.in.take(left)
		if err != nil {
			return m.lost(err)
		}
		left -= int64(len(p))
		m.write(p)
		if err := m.blocked(); err != nil {
			return err
		}
	}
	return c.bad(r.Code, r.EnhancedCode, r.Message)
}

// strangersChunk reads some of a chunk from a client that has not authenticated.
func (c *Conn) strangersChunk(now state, size int64) error {
	if size > maxRefusedChunk {
		return c.close421(code(4, 7, 0), "Chunk refused, closing the connection", EndBadCommands)
	}
	c.waitUntil(c.deadline(orDefault(c.settings.Data, defaultData)))
	if err := c.in.discard(size); err != nil {
		return err
	}
	switch now {
	case inClear:
		return c.gate()
	case new_:
		return c.bad(503, code(5, 5, 1), "Send EHLO first")
	}
	return c.bad(530, code(5, 7, 0), "Authentication required")
}
