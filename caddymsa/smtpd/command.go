package smtpd

import (
	"bytes"
	"slices"
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
	case c.message != nil:
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
	name   string
}

// commands are all verbs that are known. In clear text four are honoured; BDAT
// sees to its states itself, since its octets follow whether it is honoured or not.
var commands = make(map[string]command)

func init() {
	for _, cmd := range []command{
		{inClear | withinTLS, (*Conn).cmdEHLO, "EHLO"},
		{withinTLS, (*Conn).cmdHELO, "HELO"},
		{inClear, (*Conn).cmdSTARTTLS, "STARTTLS"},
		{greeted, (*Conn).cmdAUTH, "AUTH"},
		{ready, (*Conn).cmdMAIL, "MAIL"},
		{inMail | inRcpt, (*Conn).cmdRCPT, "RCPT"},
		{inRcpt, (*Conn).cmdDATA, "DATA"},
		{inClear | withinTLS, (*Conn).cmdBDAT, "BDAT"},
		{withinTLS, (*Conn).cmdRSET, "RSET"},
		{inClear | withinTLS, (*Conn).cmdNOOP, "NOOP"},
		{inClear | withinTLS, (*Conn).cmdQUIT, "QUIT"},
		{afterAuth, (*Conn).cmdVRFY, "VRFY"},
		{afterAuth, (*Conn).cmdHELP, "HELP"},
		{afterAuth, (*Conn).cmdNotImplemented, "EXPN"},
		{afterAuth, (*Conn).cmdNotImplemented, "ETRN"}, // RFC 6409 section 7: must not
		{afterAuth, (*Conn).cmdNotImplemented, "ATRN"},
		{afterAuth, (*Conn).cmdNotImplemented, "TURN"},
		{afterAuth, (*Conn).cmdNotImplemented, "BURL"},
	} {
		commands[cmd.name] = cmd
	}
}

// MaxLine is the longest line that can be read whole, and the most that Settings may ask for.
const MaxLine = inputSize - 2

// Limits of lines (octets without the line end).
func (c *Conn) maxCommand() int { return orDefault(c.settings.CommandLine, 2048) }

func (c *Conn) maxAuth() int {
	return min(max(orDefault(c.settings.AuthLine, 12288), c.maxCommand()), MaxLine)
}

// next reads a command and runs it.
func (c *Conn) next() error {
	line, err := c.readCommand()
	unfit, ok := err.(lineError)
	if err != nil && !ok {
		return err
	}
	c.end.Commands++
	c.verb, c.arg = "", ""
	s := c.backend.Settings()
	if s == nil {
		return c.close421(code(4, 3, 2), "Service not available, try again later", EndShutdown)
	}
	c.settings = s
	switch {
	case !c.authenticated && c.end.Commands > orDefault(s.CommandsBeforeAuth, 100):
		return c.last(textCommands, textCommands, EndCommands)
	case unfit != "":
		return c.unfitLine(line, unfit)
	case len(line) > c.maxCommand() && !isAuth(line):
		return c.unfitLine(line, errLineTooLong)
	}
	return c.dispatch(line)
}

// unfitLine answers a line that cannot be a command. Before TLS the answer is that TLS comes first.
func (c *Conn) unfitLine(line []byte, unfit lineError) error {
	now := c.state()
	c.tellVerb(line, now)
	status, enhanced, why := 500, code(5, 5, 2), "Line is too long"
	switch {
	case unfit == errBareLF:
		why = ReasonBareLF
	case unfit == errControl:
		why = textControl
	case isAuth(line) && unfit == errLineTooLong && now == greeted:
		return c.authRefused(500, code(5, 5, 6), textAuthLine) // RFC 4954 section 4
	case isAuth(line):
		enhanced, why = code(5, 5, 6), textAuthLine
	}
	text := why
	if now == inClear {
		status, enhanced, text = 530, code(5, 7, 0), textBeforeTLS
	}
	switch {
	case unfit == errEndlessLine:
		return c.last(why, textEndless, EndBadCommands)
	case c.verb == "BDAT" && now&afterAuth != 0:
		return c.last(why, textHowMuch, EndBadCommands)
	}
	return c.badFor(why, status, enhanced, text)
}

// tellVerb takes the verb alone of a line that is refused, as a secret may stand anywhere behind it.
func (c *Conn) tellVerb(line []byte, now state) {
	verb, _, _ := bytes.Cut(line, []byte(" "))
	_, c.verb = lookup(verb)
	switch {
	case c.verb == "MAIL" && now == ready:
		c.excuse()
	case c.verb == "RCPT" && c.tx != nil:
		c.refusedRcpts++
	}
}

// readCommand waits for a command.
func (c *Conn) readCommand() ([]byte, error) {
	if c.tlsState == nil {
		return c.await(c.maxCommand())
	}
	return c.await(c.maxAuth())
}

// await waits for a line, and for the end of the session's time.
func (c *Conn) await(limit int) ([]byte, error) {
	if err := c.arm(); err != nil {
		return nil, err
	}
	line, err := c.in.line(limit)
	stopping, crowded := c.disarm()
	if isTimeout(err) {
		switch {
		case stopping:
			return nil, c.close421(code(4, 3, 2), textShutdown, EndShutdown)
		case crowded:
			return nil, c.close421(code(4, 7, 0), textCrowded, EndCrowded)
		}
		return nil, c.close421(code(4, 4, 2), "Timeout, closing the connection", EndTimeout)
	}
	return line, err
}

const (
	textShutdown = "Service shutting down, try again later"
	textCrowded  = "Too many connections, try again later"
	textCommands = "Too many commands before authentication, closing the connection"
	textEndless  = "Line without an end, closing the connection"
	textControl  = "A line must not have CR or NUL in it"
)

// arm sets the deadline for a line, and lets Shutdown interrupt the wait.
func (c *Conn) arm() error {
	if c.in.buffered() == 0 {
		if err := c.out.flush(); err != nil {
			return err
		}
		c.in.release()
	}
	c.mu.Lock()
	switch {
	case c.stopping && c.tx == nil:
		c.mu.Unlock()
		return c.close421(code(4, 3, 2), textShutdown, EndShutdown)
	case c.crowded:
		c.mu.Unlock()
		return c.close421(code(4, 7, 0), textCrowded, EndCrowded)
	}
	defer c.mu.Unlock()
	c.idle = c.tx == nil
	return c.limitReads(orDefault(c.settings.Command, defaultCommand))
}

func (c *Conn) disarm() (stopping, crowded bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.idle = false
	return c.stopping, c.crowded
}

func isAuth(line []byte) bool {
	return len(line) >= 4 && bytes.EqualFold(line[:4], []byte("AUTH")) && (len(line) == 4 || line[4] == ' ')
}

const (
	textBeforeTLS = "Must issue a STARTTLS command first" // the specification's words
	textAuthLine  = "Authentication exchange line is too long"
)

// beforeTLS is the answer to everything but four verbs before TLS.
func (c *Conn) beforeTLS() error { return c.bad(530, code(5, 7, 0), textBeforeTLS) }

// lookup finds a verb in any case. It allocates nothing, as strangers may call it often.
func lookup(verb []byte) (cmd command, name string) {
	var upper [8]byte
	if len(verb) > len(upper) {
		return command{}, ""
	}
	for i, ch := range verb {
		if 'a' <= ch && ch <= 'z' {
			ch -= 'a' - 'A'
		}
		upper[i] = ch
	}
	cmd = commands[string(upper[:len(verb)])]
	return cmd, cmd.name
}

func (c *Conn) dispatch(line []byte) error {
	verb, arg, _ := bytes.Cut(bytes.TrimRight(line, " \t"), []byte(" "))
	cmd, name := lookup(verb)
	now := c.state()
	c.verb = name
	if cmd.states&now != 0 || told(name) {
		c.arg = string(bytes.TrimLeft(arg, " "))
	}
	if now == inClear {
		c.tried(verb, line)
	}
	switch {
	case cmd.states&now != 0:
		return cmd.run(c, c.arg)
	case now == inClear:
		return c.beforeTLS()
	case name == "":
		return c.bad(500, code(5, 5, 2), "Command not recognized")
	case name == "STARTTLS":
		return c.bad(503, code(5, 5, 1), "TLS is active already")
	case now == new_:
		return c.bad(503, code(5, 5, 1), "Send EHLO first")
	case now == greeted:
		return c.bad(530, code(5, 7, 0), "Authentication required") // RFC 4954 section 6
	case name == "DATA" && now == inMail && c.refusedRcpts > 0:
		return c.no(554, code(5, 5, 1), textNoRecipients) // not the client's mistake if it pipelines
	case (name == "DATA" || name == "RCPT") && now == ready:
		return c.noMail()
	}
	return c.bad(503, code(5, 5, 1), outOfOrder(name, now))
}

// maxTried is how many verbs of a client that never comes to TLS are remembered.
const maxTried = 8

// tried remembers what a client says in clear text, and what it takes this port for. A word that is no
// verb may be half a password: it is not kept.
func (c *Conn) tried(verb, line []byte) {
	word := c.verb
	switch {
	case word != "":
	case bytes.Contains(line, []byte(" HTTP/1.")) && len(verb) <= len("OPTIONS"):
		c.end.Spoke = "HTTP"
		word = string(appendText(nil, string(verb), len(verb)))
	default:
		word = "?"
	}
	if len(c.end.Tried) < maxTried && c.end.Commands <= 4*maxTried && !slices.Contains(c.end.Tried, word) {
		c.end.Tried = append(c.end.Tried, word)
	}
}

const (
	textNoRecipients = "No valid recipients" // the wording of RFC 5321 section 3.3
	textNoMail       = "Send MAIL first"
)

func outOfOrder(verb string, now state) string {
	switch {
	case verb == "AUTH" && now == ready:
		return "Already authenticated"
	case verb == "AUTH":
		return "AUTH is not possible in a mail transaction"
	case verb == "MAIL":
		return "A mail transaction is open already"
	case verb == "DATA" && now == inMail:
		return "Send RCPT first"
	case verb == "DATA":
		return "DATA and BDAT do not mix in a transaction"
	}
	return "Bad sequence of commands"
}
