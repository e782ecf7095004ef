package smtpd

import "time"

const (
	// defaultDataRate is the least that a body must bring in octets a second.
	defaultDataRate = 100
	// defaultDataGrace is how long a body may take whatever it brings.
	defaultDataGrace = time.Minute
	// hopelessExcess is read of a message beyond twice the limit: to go on being polite to
	// its client costs more than it is worth.
	hopelessExcess = 8 << 20
)

// resume says that the client is to send octets of the message now. The pauses that it makes between
// chunks are waits for a command, and do not count.
func (m *message) resume() { m.spell = m.conn.options.Now() }

// pause ends what resume began.
func (m *message) pause() { m.spent += m.conn.options.Now().Sub(m.spell) }

// wait sets the deadline for the next block (RFC 5321 section 4.5.3.2.5).
func (m *message) wait() {
	m.conn.waitFor(orDefault(m.conn.settings.Data, defaultData))
}

// elapsed is for how long the client has had to send its octets.
func (m *message) elapsed() time.Duration { return m.spent + m.conn.options.Now().Sub(m.spell) }

// blocked ends the session if the body must not go on, else it is nil.
func (m *message) blocked() error {
	c := m.conn
	switch {
	case m.size-hopelessExcess > 2*m.limit:
		m.abort(errTooLarge)
		// The answer to DATA: with 421 alone the client would send the same again.
		c.reply(552, code(5, 3, 4), errTooLarge.Message)
		return c.close421(code(4, 3, 0), "Closing the connection", EndRefused)
	case m.tooSlow(c.settings, m.elapsed()):
		return m.breakOff("Message comes too slowly, closing the connection")
	}
	return nil
}
