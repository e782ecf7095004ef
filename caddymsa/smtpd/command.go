package smtpd

import (
	"bytes"
	"errors"
	"strings"
)

// state is how far a session has come. A verb is honoured in some of them.
type state uint8

const (
	inClear state = 1 << iota // before TLS
	new_                      // TLS from the first byte, before EHLO
	greeted                   // before AUTH
	ready                     // authenticated, no transaction
	inMail                    // a transaction without recipients
	inRcpt                    // a transaction with recipients
	inBDAT                    // a transaction with chunks

	withinTLS = new_ | greeted | ready | inMail | inRcpt | inBDAT
	afterAuth = ready | inMail | inRcpt | inBDAT
)

func (c *Conn) state() state {
	switch {
	case c.tlsState == nil:
		return inClear
	case !c.ehlo:
		return new_
	case !c.authenticated:
		return greeted
	case c.tx == nil:
		return ready
	case c.chunks != nil:
		return inBDAT
	case c.recipients > 0:
		return inRcpt
	}
	return inMail
}

// command is a verb: the states in which it may come, and what it does. An error of run ends the session.
type command struct {
	states state
	run    func(c *Conn, arg string) error
}

// commands are all verbs that are known. In clear text four are honoured; BDAT
// sees to its states itself, since its octets follow whether it is honoured or not.
var commands map[string]command

func init() {
	commands = map[string]command{
		"EHLO":     {inClear | withinTLS, (*Conn).cmdEHLO},
		"HELO":     {withinTLS, (*Conn).cmdHELO},
		"STARTTLS": {inClear, (*Conn).cmdSTARTTLS},
		"AUTH":     {greeted, (*Conn).cmdAUTH},
		"MAIL":     {ready, (*Conn).cmdMAIL},
		"RCPT":     {inMail | inRcpt, (*Conn).cmdRCPT},
		"DATA":     {inRcpt, (*Conn).cmdDATA},
		"BDAT":     {inClear | withinTLS, (*Conn).cmdBDAT},
		"RSET":     {withinTLS, (*Conn).cmdRSET},
		"NOOP":     {inClear | withinTLS, (*Conn).cmdNOOP},
		"QUIT":     {inClear | withinTLS, (*Conn).cmdQUIT},
		"VRFY":     {afterAuth, (*Conn).cmdVRFY},
		"HELP":     {afterAuth, (*Conn).cmdHELP},
		"EXPN":     {afterAuth, (*Conn).cmdNotImplemented},
		"ETRN":     {afterAuth, (*Conn).cmdNotImplemented}, // RFC 6409 section 7: must not
		"ATRN":     {afterAuth, (*Conn).cmdNotImplemented},
		"TURN":     {afterAuth, (*Conn).cmdNotImplemented},
		"BURL":     {afterAuth, (*Conn).cmdNotImplemented},
	}
}

// Limits of lines (octets without the line end).
const (
	maxCommand = 2048
	maxAuth    = 12288 // RFC 4954 section 4
)

// next reads a command and runs it.
func (c *Conn) next() error {
	line, err := c.readCommand()
	if c.settings = c.backend.Settings(); c.settings == nil {
		return c.close421(code(4, 3, 2), "Service not available, try again later", EndShutdown)
	}
	switch {
	case errors.Is(err, errEndlessLine):
		c.end.Commands++
		if err := c.tooLong(line); err != nil {
			return err
		}
		return c.close421(code(4, 7, 0), "Line without an end, closing the connection", EndBadCommands)
	case errors.Is(err, errLineTooLong):
		c.end.Commands++
		return c.tooLong(line)
	case errors.Is(err, errBareLF):
		c.end.Commands++
		if c.tlsState == nil {
			return c.gate()
		}
		return c.bad(500, code(5, 5, 2), "A line ends in CRLF, not in LF alone")
	case err != nil:
		return err
	}
	c.end.Commands++
	if len(line) > maxCommand && !isAuth(line) {
		return c.tooLong(line)
	}
	return c.dispatch(string(line))
}

// readCommand waits for a line, and for the end of the session's time.
func (c *Conn) readCommand() ([]byte, error) {
	if err := c.arm(); err != nil {
		return nil, err
	}
	limit := maxCommand
	if c.tlsState != nil {
		limit = maxAuth
	}
	line, err := c.in.line(limit)
	stopping := c.disarm()
	if isTimeout(err) {
		if stopping {
			return nil, c.close421(code(4, 3, 2), "Service shutting down, try again later", EndShutdown)
		}
		return nil, c.close421(code(4, 4, 2), "Timeout, closing the connection", EndTimeout)
	}
	return line, err
}

// arm sets the deadline for a command, and lets Shutdown interrupt the wait.
func (c *Conn) arm() error {
	if c.in.buffered() == 0 {
		if err := c.out.flush(); err != nil {
			return err
		}
		c.in.release()
	}
	c.mu.Lock()
	if c.stopping && c.tx == nil {
		c.mu.Unlock()
		return c.close421(code(4, 3, 2), "Service shutting down, try again later", EndShutdown)
	}
	defer c.mu.Unlock()
	c.idle = c.tx == nil
	return c.nc.SetReadDeadline(c.deadline(orDefault(c.settings.Command, defaultCommand)))
}

func (c *Conn) disarm() (stopping bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.idle = false
	return c.stopping
}

func isAuth(line []byte) bool {
	return len(line) >= 4 && bytes.EqualFold(line[:4], []byte("AUTH"))
}

func (c *Conn) tooLong(line []byte) error {
	switch {
	case c.tlsState == nil:
		return c.gate()
	case isAuth(line):
		return c.bad(500, code(5, 5, 6), "Authentication exchange line is too long") // RFC 4954 section 4
	}
	return c.bad(500, code(5, 5, 2), "Line too long")
}

// gate is the answer to everything but four verbs before TLS.
func (c *Conn) gate() error {
	return c.bad(530, code(5, 7, 0), "Must issue a STARTTLS command first")
}

func (c *Conn) dispatch(line string) error {
	verb, arg, _ := strings.Cut(strings.TrimRight(line, " \t"), " ")
	cmd, known := commands[strings.ToUpper(verb)]
	now := c.state()
	switch {
	case known && cmd.states&now != 0:
		return cmd.run(c, strings.TrimLeft(arg, " "))
	case now == inClear:
		return c.gate()
	case !known:
		return c.bad(500, code(5, 5, 2), "Command not recognized")
	case now == new_:
		return c.bad(503, code(5, 5, 1), "Send EHLO first")
	case now == greeted && cmd.states&afterAuth != 0:
		return c.bad(530, code(5, 7, 0), "Authentication required")
	}
	return c.bad(503, code(5, 5, 1), outOfOrder(strings.ToUpper(verb), now))
}

func outOfOrder(verb string, now state) string {
	switch {
	case verb == "STARTTLS":
		return "TLS is active already"
	case verb == "AUTH" && now == ready:
		return "Already authenticated"
	case verb == "AUTH":
		return "AUTH is not possible in a mail transaction"
	case verb == "MAIL":
		return "A mail transaction is open already"
	case verb == "RCPT" && now == ready:
		return "Send MAIL first"
	case verb == "DATA" && now == ready:
		return "Send MAIL first"
	case verb == "DATA" && now == inMail:
		return "Send RCPT first"
	case verb == "DATA":
		return "DATA and BDAT do not mix in a transaction"
	}
	return "Bad sequence of commands"
}
