package smtpd

import (
	"errors"
	"math"
	"strconv"
	"strings"

	"github.com/emersion/go-smtp"
)

// cmdBDAT handles BDAT (RFC 3030). The octets of a chunk follow whether it is honoured or not, so
// they are always read, and never as commands.
func (c *Conn) cmdBDAT(arg string) error {
	size, last, err := parseChunk(arg)
	if c.state()&afterAuth == 0 {
		return c.strangersChunk(size)
	}
	switch {
	case size < 0 || size == math.MaxInt64:
		return c.last(err.Error(), textHowMuch, EndBadCommands)
	case err != nil:
		return c.loseChunk(size, 501, code(5, 5, 4), err.Error())
	}
	switch c.state() {
	case ready:
		if err := c.skipChunk(size, textNoMail); err != nil {
			return err
		}
		return c.noMail()
	case inMail:
		drop := c.dropChunk
		if !last {
			drop = c.loseChunk
		}
		if c.refusedRcpts > 0 {
			return drop(size, 554, code(5, 5, 1), textNoRecipients)
		}
		return drop(size, 503, code(5, 5, 1), "Send RCPT first")
	case inRcpt:
		m, err := c.begin()
		if err != nil {
			// The transaction is over, but chunks that are on their way already
			// must find it failed, not missing.
			tx := c.tx
			c.message = c.doomed(err)
			tx.Abort()
		} else {
			c.message = m
		}
	}
	return c.chunk(c.message, size, last)
}

// parseChunk reads a chunk's size and whether it is the last. With an error, the size is what follows
// all the same: -1 if nobody can tell, math.MaxInt64 if it is beyond counting.
func parseChunk(arg string) (size int64, last bool, err error) {
	const usage = "BDAT takes a number of octets, and LAST"
	words := strings.Fields(arg)
	if len(words) == 0 {
		return 0, false, errors.New(usage)
	}
	if strings.Trim(words[0], "0123456789") != "" {
		return -1, false, errors.New(usage)
	}
	size, err = strconv.ParseInt(words[0], 10, 64)
	switch {
	case err != nil || size > math.MaxInt64/4: // sizes are added up
		return math.MaxInt64, false, errors.New("BDAT: the number is too large")
	case len(words) == 1:
		return size, false, nil
	case len(words) == 2 && strings.EqualFold(words[1], "LAST"):
		return size, true, nil
	}
	return size, false, errors.New(usage)
}

// receive reads the octets of a chunk.
func (m *message) receive(size int64) error {
	m.resume()
	defer m.pause()
	for size > 0 {
		m.wait()
		p, err := m.conn.in.take(size)
		if err != nil {
			return m.lost(err)
		}
		size -= int64(len(p))
		m.write(p)
		if err := m.blocked(); err != nil {
			return err
		}
	}
	return nil
}

// chunk takes a chunk into the message, and the message to its end with the last one.
func (c *Conn) chunk(m *message, size int64, last bool) error {
	if err := m.receive(size); err != nil {
		return err
	}
	switch {
	case m.answered: // not the client's mistake if it pipelines
		err := c.no(503, code(5, 5, 1), "An earlier chunk was refused, send RSET")
		if last {
			c.forget()
		}
		return err
	case last:
		return m.commit()
	case m.refusal != nil:
		m.answered = true
		return c.refused(m.refusal)
	default:
		c.reply(250, code(2, 0, 0), strconv.FormatInt(m.size, 10)+" octets received")
		return nil
	}
}

// skipChunk reads a chunk for nothing.
func (c *Conn) skipChunk(size int64, why string) error {
	return c.doomed(errors.New(why)).receive(size)
}

// dropChunk refuses a chunk.
func (c *Conn) dropChunk(size int64, status int, enhanced smtp.EnhancedCode, text string) error {
	if err := c.skipChunk(size, text); err != nil {
		return err
	}
	if status == 554 {
		return c.no(status, enhanced, text)
	}
	return c.bad(status, enhanced, text)
}

// textHowMuch is of a BDAT that cannot be read: what follows may be a message, and must not become commands.
const textHowMuch = "Cannot tell how much follows, closing the connection"

// loseChunk refuses a chunk of a message, of which nothing can become then: until RSET the others are refused too (RFC 3030
// section 2), also those that are on their way already.
func (c *Conn) loseChunk(size int64, status int, enhanced smtp.EnhancedCode, text string) error {
	switch cause := errors.New(text); {
	case c.message != nil:
		c.message.refuse(cause)
	case c.tx != nil:
		tx := c.tx
		c.message = c.doomed(cause)
		tx.Abort()
	}
	if c.message != nil {
		c.message.answered = true
	}
	return c.dropChunk(size, status, enhanced, text)
}

// strangersChunk reads some of a chunk from a client that has not authenticated.
func (c *Conn) strangersChunk(size int64) error {
	if size > c.maxSkip() {
		return c.last("A chunk before authentication", "Chunk refused, closing the connection", EndBadCommands)
	}
	c.waitFor(orDefault(c.settings.Data, defaultData))
	if err := c.in.discard(size); isTimeout(err) {
		return c.close421(code(4, 4, 2), "Timeout, closing the connection", EndTimeout)
	} else if err != nil {
		return err
	}
	switch c.state() {
	case inClear:
		return c.beforeTLS()
	case new_:
		return c.bad(503, code(5, 5, 1), "Send EHLO first")
	}
	return c.bad(530, code(5, 7, 0), "Authentication required")
}
