package integration

import (
	"crypto/tls"
	"encoding/base64"
	"errors"
	"strings"
)

// endOfData submits a message of alice's to bob and returns the reply to its end, or the first refusal
// before it.
func (s *server) endOfData(trust *tls.Config, message string) string {
	s.t.Helper()
	c, err := s.as(trust, "alice@example.org")
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.close()
	err = all(
		func() error { return c.do("250", "MAIL FROM:<alice@example.org>") },
		func() error { return c.do("250", "RCPT TO:<bob@example.net>") },
		func() error { return c.do("354", "DATA") },
		func() error {
			return c.send(strings.ReplaceAll("\r\n"+message, "\r\n.", "\r\n..")[2:] + ".\r\n")
		},
	)
	if refused, ok := errors.AsType[*unexpected](err); ok {
		return refused.got
	}
	if err != nil {
		s.t.Fatal(err)
	}
	reply, err := c.reply()
	if err != nil {
		s.t.Fatal(err)
	}
	return reply
}

// base64Lines encodes text as a MIME body.
func base64Lines(text string) string {
	encoded := base64.StdEncoding.EncodeToString([]byte(text))
	var b strings.Builder
	for len(encoded) > 76 {
		b.WriteString(encoded[:76] + "\r\n")
		encoded = encoded[76:]
	}
	b.WriteString(encoded + "\r\n")
	return b.String()
}
