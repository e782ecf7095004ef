package smtpd

import "time"

// To move a deadline costs as much as to answer a short command. So it is set somewhat later than it must be, by a 128th
// of the time that a client has, and stays where it is while that is late enough.

// limitReads has reads end d after now. Its caller holds c.mu.
func (c *Conn) limitReads(d time.Duration) error {
	from, to := c.deadline(d)
	if within(c.readBy, from, to) {
		return nil
	}
	c.readBy = to
	return c.nc.SetReadDeadline(to)
}

// waitFor has the reads to come end d after now.
func (c *Conn) waitFor(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.limitReads(d)
}

// interrupt wakes the owner, who waits for the client. Its caller holds c.mu.
func (c *Conn) interrupt() {
	c.readBy = time.Time{}
	_ = c.nc.SetReadDeadline(time.Unix(1, 0))
}

// limitWrites has the writes to come end in time.
func (c *Conn) limitWrites() {
	from, to := c.writeBy()
	if within(c.writtenBy, from, to) {
		return
	}
	c.writtenBy = to
	_ = c.nc.SetWriteDeadline(to)
}

func within(t, from, to time.Time) bool { return !t.Before(from) && !t.After(to) }

// deadline is when a wait of d that begins now is over: not before from, and not after to.
func (c *Conn) deadline(d time.Duration) (from, to time.Time) {
	now, hard := c.options.Now(), c.hard()
	return earlier(now.Add(d), hard), earlier(now.Add(d+d/128), hard)
}

// writeBy is when a write that begins now must be done: a stranger who does not read is not
// waited for longer than one who does not write.
func (c *Conn) writeBy() (from, to time.Time) {
	from, to = c.deadline(orDefault(c.settings.Write, defaultWrite))
	parting := c.options.Now().Add(partingTime)
	return later(from, parting), later(to, parting)
}

// hard is the moment at which the session is over whatever the client does.
func (c *Conn) hard() time.Time {
	end := c.started.Add(orDefault(c.settings.SessionTime, 24*time.Hour))
	if !c.authenticated {
		if auth := c.started.Add(orDefault(c.settings.BeforeAuth, time.Minute)); auth.Before(end) {
			return auth
		}
	}
	return end
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
