package smtpd

import (
	"encoding/base64"
	"io"
	"slices"
	"strings"

	gosasl "github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// cmdAUTH handles AUTH (RFC 4954).
func (c *Conn) cmdAUTH(arg string) error {
	words := strings.Fields(arg)
	switch {
	case len(words) == 0:
		return c.authRefused(501, code(5, 5, 4), "AUTH takes a mechanism")
	case len(words) > 2:
		return c.authRefused(501, code(5, 5, 4), "AUTH takes a mechanism and at most one initial response")
	}
	mechanism := strings.ToUpper(words[0])
	if !slices.Contains(c.session.Mechanisms(), mechanism) {
		return c.authRefused(504, code(5, 5, 4), "Mechanism is not offered")
	}
	var response []byte // nil: none was sent
	if len(words) == 2 {
		var err error
		if response, err = decode(words[1]); err != nil {
			return c.authRefused(501, code(5, 5, 2), "Initial response is not base64")
		}
	}
	server, err := c.session.Auth(c.ctx, mechanism)
	if err != nil {
		return c.authFailed(errorReply(err))
	}
	return c.exchange(server, response)
}

// maxRounds bounds an exchange; no mechanism has as many.
const maxRounds = 32

// exchange drives a mechanism to its end.
func (c *Conn) exchange(server gosasl.Server, response []byte) error {
	if closer, ok := server.(io.Closer); ok {
		defer closer.Close()
	}
	for round := 1; ; round++ {
		challenge, done, err := server.Next(response)
		if err != nil {
			return c.authFailed(errorReply(err))
		}
		if done && len(challenge) == 0 {
			break
		}
		if round > maxRounds {
			return c.authRefused(501, code(5, 7, 0), "Authentication takes too many steps")
		}
		line, err := c.challenge(challenge)
		if unfit, ok := err.(lineError); ok {
			return c.unfitResponse(unfit)
		}
		if err != nil {
			return err
		}
		if line == "*" {
			return c.authRefused(501, code(5, 7, 0), "Authentication cancelled")
		}
		if response, err = decodeResponse(line); err != nil {
			return c.authRefused(501, code(5, 5, 2), "Response is not base64")
		}
		if done { // the challenge held the mechanism's last word
			if len(response) > 0 {
				return c.authRefused(501, code(5, 5, 2), "Expected an empty response")
			}
			break
		}
	}
	c.mu.Lock()
	c.authenticated, c.crowded = true, false
	c.mu.Unlock()
	c.reply(235, code(2, 7, 0), "Authentication successful")
	if c.options.Authenticated != nil {
		c.options.Authenticated()
	}
	return nil
}

// unfitResponse ends an exchange by a line that cannot be a response.
func (c *Conn) unfitResponse(unfit lineError) error {
	switch unfit {
	case errLineTooLong:
		return c.authRefused(500, code(5, 5, 6), textAuthLine) // RFC 4954 section 4
	case errEndlessLine:
		return c.last(textAuthLine, textEndless, EndBadCommands)
	}
	return c.authRefused(501, code(5, 5, 2), "Response is not base64 and CRLF")
}

// challenge sends a 334 and reads the client's line.
func (c *Conn) challenge(challenge []byte) (string, error) {
	c.out.line("334 ", base64.StdEncoding.EncodeToString(challenge))
	line, err := c.await(c.maxAuth())
	return string(line), err
}

// authRefused refuses an AUTH for its form.
func (c *Conn) authRefused(status int, enhanced smtp.EnhancedCode, text string) error {
	c.tell(status, enhanced, text, text)
	return c.authFailed(&smtp.SMTPError{Code: status, EnhancedCode: enhanced, Message: text})
}

// authFailed answers an AUTH that failed. Whatever its code it is counted: each may have cost a
// question to a backend and a line in the log.
func (c *Conn) authFailed(r *smtp.SMTPError) error {
	if r.Code == 421 {
		return c.close421(r.EnhancedCode, r.Message, EndRefused)
	}
	if r.Code == 500 || r.Code == 501 || r.Code == 504 {
		c.end.BadCommands++
	}
	if c.end.BadCommands >= orDefault(c.settings.BadCommands, 20) {
		return c.close421(code(4, 7, 0), textBadCommands, EndBadCommands)
	}
	// The last one is answered too: a client that does not hear of a wrong password keeps it.
	c.reply(r.Code, r.EnhancedCode, textLines(r.Message)...)
	if c.authFailures++; c.authFailures >= orDefault(c.settings.AuthFailures, 3) {
		return c.close421(code(4, 7, 0), "Too many failed authentications, closing the connection", EndAuthFailures)
	}
	return nil
}

// decode reads an initial response, whose empty form is "=".
func decode(s string) ([]byte, error) {
	if s == "=" {
		return []byte{}, nil
	}
	return decodeResponse(s)
}

func decodeResponse(s string) ([]byte, error) {
	b := make([]byte, base64.StdEncoding.DecodedLen(len(s)))
	// The decoder would pass over CR and LF, but there are none in a line.
	n, err := base64.StdEncoding.Strict().Decode(b, []byte(s))
	return b[:n], err
}
