package smtpd

func (c *Conn) cmdRSET(arg string) error {
	if arg != "" {
		return c.bad(501, code(5, 5, 4), "RSET takes no parameters")
	}
	c.abandon(nil)
	c.reply(250, code(2, 0, 0), "Ok")
	return nil
}

func (c *Conn) cmdNOOP(string) error {
	c.reply(250, code(2, 0, 0), "Ok")
	return nil
}

func (c *Conn) cmdQUIT(arg string) error {
	if arg != "" {
		return c.bad(501, code(5, 5, 4), "QUIT takes no parameters")
	}
	c.reply(221, code(2, 0, 0), "Bye") // sent at the end
	return &stop{reason: EndQuit}
}

// cmdVRFY neither confirms nor denies (RFC 5321 section 7.3).
func (c *Conn) cmdVRFY(arg string) error {
	if arg == "" {
		return c.bad(501, code(5, 5, 4), "VRFY takes an address")
	}
	c.reply(252, code(2, 0, 0), "Cannot verify, but will take messages for those served here")
	return nil
}

func (c *Conn) cmdHELP(string) error {
	c.reply(214, code(2, 0, 0), "Message submission, RFC 6409", "AUTH, MAIL, RCPT, DATA, BDAT, RSET, NOOP, QUIT")
	return nil
}

func (c *Conn) cmdNotImplemented(string) error {
	return c.bad(502, code(5, 5, 1), "Command not implemented")
}

// excuse is for a MAIL that is refused: a client that pipelines (RFC 2920 section 3.1) has sent its recipients and DATA
// by then, and they are not its mistake. There may be as many of them as of a message that is taken.
func (c *Conn) excuse() { c.excuses = c.maxRecipients() + 1 }

// noMail refuses what comes without a MAIL. It is not counted, nor told again, behind one that was refused.
func (c *Conn) noMail() error {
	if c.excuses == 0 {
		return c.bad(503, code(5, 5, 1), textNoMail)
	}
	c.excuses--
	c.reply(503, code(5, 5, 1), textNoMail)
	return nil
}

// forget makes way for the next transaction.
func (c *Conn) forget() {
	c.tx, c.message, c.recipients, c.refusedRcpts, c.excuses, c.utf8 = nil, nil, 0, 0, 0, false
}

// abandon ends the transaction, if there is one.
func (c *Conn) abandon(cause error) {
	m, tx := c.message, c.tx
	c.forget()
	switch {
	case m != nil:
		m.abort(cause)
	case tx != nil:
		tx.Abort()
	}
}
