package smtpd

import (
	"strconv"
	"strings"

	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
)

func (c *Conn) cmdEHLO(arg string) error {
	if ok, err := c.hello(arg); !ok {
		return err
	}
	lines := []string{
		c.settings.Hostname, "PIPELINING", "SIZE " + strconv.FormatInt(c.messageSize(), 10),
	}
	mechanisms := c.settings.AnnounceBeforeTLS
	if c.tlsState == nil {
		lines = append(lines, "STARTTLS")
	} else {
		mechanisms = c.session.Mechanisms()
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
	if err := mailaddr.ValidDomain(arg, false); err != nil && !harmless(arg) {
		return false, c.bad(501, smtp.NoEnhancedCode, "EHLO takes a domain name or an address literal")
	}
	c.abandon(nil)
	c.helo = arg
	c.ehlo = c.tlsState != nil
	return true, nil
}

// harmless tells whether a name that is no domain may pass: Windows hosts say "MY_PC",
// and what a client calls itself proves nothing. It must only fit into Received.
func harmless(name string) bool {
	if len(name) > 255 {
		return false
	}
	for _, ch := range []byte(name) {
		if !(ch >= '0' && ch <= '9' || ch >= 'A' && ch <= 'Z' || ch >= 'a' && ch <= 'z' || strings.IndexByte("-._:[]", ch) >= 0) {
			return false
		}
	}
	return true
}

func (c *Conn) messageSize() int64 { return orDefault(c.settings.MessageSize, 52428800) }

func (c *Conn) maxRecipients() int { return orDefault(c.settings.Recipients, 1000) }
