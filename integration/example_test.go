package integration

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// the specification's example dialogue, line by line. Its client sends no EHLO within TLS.
// Its DIGEST-MD5 is computed, and the server's proof checked, by GNU SASL.
func TestExample(t *testing.T) {
	t.Parallel()
	const name = "msa.overheidstransactiepoort.nl"
	s := newServer(t)
	s.write("Caddyfile", strings.Replace(s.caddyfile(layout{}), "msa "+hostname, "msa "+name, 1))
	s.writeUsers("ik@mijnbedrijf.nl:{PLAIN}geheim\n")
	s.run()
	args := []string{"--client", "--mechanism", "DIGEST-MD5", "--no-client-first", "--quiet", "--quality-of-protection", "qop-auth",
		"--authentication-id", "ik@mijnbedrijf.nl", "--password", "geheim", "--realm", name, "--service", "smtp", "--hostname", name}
	begin := func() *gsaslClient {
		gsasl := startGsasl(t, args...)
		if first := gsasl.line(t); first != "DIGEST-MD5" {
			t.Fatalf("gsasl begins with %q", first)
		}
		return gsasl
	}
	gsasl := begin()

	nc, err := net.DialTimeout("tcp", s.starttls, patience)
	if err != nil {
		t.Fatal(err)
	}
	c := &talker{nc: nc, r: bufio.NewReader(nc)}
	defer func() { c.close() }()
	says := func(line, want string) string {
		t.Helper()
		if line != "" {
			line += "\r\n"
		}
		if err := c.send(line); err != nil {
			t.Fatal(err)
		}
		reply, err := c.reply()
		if err != nil || !regexp.MustCompile("^(?s:"+want+")$").MatchString(reply) {
			t.Fatalf("C: %sS: %s (%v), want %s", line, reply, err, want)
		}
		return reply
	}
	says("", "220 "+regexp.QuoteMeta(name)+" ESMTP")
	ehlo := strings.Split(says("EHLO mijnbedrijf.nl", "250-.*"), "\r\n")
	if ehlo[0] != "250-"+name {
		t.Errorf("EHLO is answered first by %q", ehlo[0])
	}
	for _, keyword := range []string{"PIPELINING", "SIZE 52428800", "STARTTLS", "8BITMIME", "AUTH DIGEST-MD5"} {
		if !slices.ContainsFunc(ehlo, func(line string) bool { return line[4:] == keyword }) {
			t.Errorf("EHLO does not announce %s: %q", keyword, ehlo)
		}
	}
	config := s.tlsConfig()
	config.ServerName = name
	says("STARTTLS", `220 (2\.0\.0 )?Ready to start TLS`)
	conn := tls.Client(nc, config)
	_ = conn.SetDeadline(time.Now().Add(patience))
	if err := conn.Handshake(); err != nil {
		t.Fatal(err)
	}
	c.nc, c.r = conn, bufio.NewReader(conn)
	challenge := strings.TrimPrefix(says("AUTH DIGEST-MD5", "334 [A-Za-z0-9+/=]+"), "334 ")
	gsasl.say(t, challenge)
	rspauth := strings.TrimPrefix(says(gsasl.line(t), "334 [A-Za-z0-9+/=]+"), "334 ")
	gsasl.say(t, rspauth)
	// Content with the server's proof, it has an empty response; else it says "mechanism error".
	last := gsasl.line(t)
	if last != "" {
		t.Fatalf("gsasl says to rspauth: %q", last)
	}
	// That means something: another one, whose nonce is another, is not content with this proof.
	other := begin()
	other.say(t, challenge)
	other.line(t)
	other.say(t, rspauth)
	if last := other.line(t); !strings.Contains(last, "mechanism error") {
		t.Errorf("gsasl says to somebody else's rspauth: %q", last)
	}
	if err := c.send("\r\n"); err != nil {
		t.Fatal(err)
	}
	says("", `235 2\.7\.0 .*`)
	says("MAIL FROM:<ik@mijnbedrijf.nl>", `250 2\.1\.0 Ok`)
	says("RCPT TO:<belastingdienst@overheid.nl>", `250 2\.1\.5 Ok`)
	says("DATA", `354 End data with <CR><LF>\.<CR><LF>`)
	message := "From: ik@mijnbedrijf.nl\r\nTo: belastingdienst@overheid.nl\r\nSubject: aangifte\r\n\r\naangifte\r\n"
	if err := c.send(message); err != nil {
		t.Fatal(err)
	}
	id := strings.TrimPrefix(says(".", `250 2\.0\.0 Ok: queued as [A-Z0-9]+`), "250 2.0.0 Ok: queued as ")
	says("QUIT", "221 .*")
	if rest, err := c.r.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("after QUIT: %q, %v, want the end of the connection", rest, err)
	}
	got := s.mail("belastingdienst@overheid.nl", 1)[0]
	if !bytes.Equal(untraced(t, got), []byte(message)) || !bytes.Contains(got, []byte(id)) {
		t.Errorf("delivered as %s:\n%q", id, got)
	}
}
