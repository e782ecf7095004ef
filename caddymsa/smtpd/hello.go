package smtpd

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/emersion/go-smtp"
)

func (c *Conn) cmdEHLO(arg string) error {
	if ok, err := c.hello(arg); !ok {
		return err
	}
	lines := []string{
		c.settings.Hostname, "PIPELINING", "SIZE " + strconv.FormatInt(c.messageSize(), 10),
	}
	var mechanisms []string
	if c.tlsState != nil {
		mechanisms = c.session.Mechanisms()
	} else {
		lines = append(lines, "STARTTLS")
		if announce := c.settings.AnnounceBeforeTLS; announce != nil {
			mechanisms = announce()
		}
	}
	lines = append(lines, "8BITMIME")
	if len(mechanisms) > 0 {
		lines = append(lines, "AUTH "+strings.Join(mechanisms, " "))
	}
	lines = append(lines, "ENHANCEDSTATUSCODES", "CHUNKING", "SMTPUTF8", "DSN",
		"LIMITS RCPTMAX="+strconv.Itoa(c.maxRecipients())) // RFC 9422
	if c.settings.Priority > 0 {
		lines = append(lines, "MT-PRIORITY") // RFC 6710
	}
	for i, text := range lines {
		sep := "-"
		if i == len(lines)-1 {
			sep = " "
		}
		c.out.line("250", sep, text)
	}
	if c.tlsState == nil {
		c.helo = "" // forgotten with the clear text (RFC 3207 section 4.2)
	}
	return nil
}

func (c *Conn) cmdHELO(arg string) error {
	if ok, err := c.hello(arg); !ok {
		return err
	}
	c.out.line("250 ", c.settings.Hostname)
	return nil
}

// hello takes the client's name, or refuses it. EHLO ends a transaction, as RSET does. No answer to
// EHLO or HELO has an enhanced code (RFC 2034 section 4).
func (c *Conn) hello(arg string) (ok bool, err error) {
	if arg == "" {
		return false, c.bad(501, smtp.NoEnhancedCode, "EHLO takes the client's name")
	}
	c.abandon(nil)
	c.helo = printableName(arg)
	c.ehlo = c.tlsState != nil
	return true, nil
}

// maxHelo is the longest name that is kept: a domain's length (RFC 5321 section 4.5.3.1.2).
const maxHelo = 255

// printableName makes text of what a client calls itself. Any name will do, as it proves nothing:
// hosts call themselves "MY_PC", "Bob's iPhone", or MÜLLER-PC in Latin-1.
func printableName(arg string) string {
	if len(arg) <= maxHelo && !strings.ContainsFunc(arg, func(r rune) bool { return r < ' ' || r > '~' }) {
		return arg
	}
	name := make([]byte, 0, min(len(arg), maxHelo))
	valid := utf8.ValidString(arg)
	for i := 0; i < len(arg); {
		r, n := rune(arg[i]), 1 // Latin-1
		if valid {
			r, n = utf8.DecodeRuneInString(arg[i:])
		}
		i += n
		if !unicode.IsPrint(r) {
			r = '?'
		}
		if len(name)+utf8.RuneLen(r) > maxHelo {
			break
		}
		name = utf8.AppendRune(name, r)
	}
	return string(name)
}

func (c *Conn) messageSize() int64 { return c.settings.messageSize() }

func (c *Conn) maxRecipients() int { return c.settings.recipients() }
