package smtpd

import (
	"strings"
	"testing"
)

const notYet = "S: 530 5.7.0 Must issue a STARTTLS command first\n"

// what is answered before TLS. docs/dev/smtp.md section 2, 25.
func TestGate(t *testing.T) {
	runScenarios(t, []scenario{
		{"R-04 four verbs", atClear, `
			C: NOOP
			S: 250 2.0.0 Ok
			C: noop with an argument
			S: 250 2.0.0 Ok
			C: EHLO mijnbedrijf.nl
			S: 250-msa.example.test
			S: ...
			C: QUIT
			S: 221 2.0.0 Bye
			EOF`},
		{"R-05 each other verb", atClear, each([]string{
			"HELO c", "MAIL FROM:<a@example.org>", "RCPT TO:<a@example.org>", "DATA", "BDAT 0 LAST", "RSET", "VRFY a",
			"EXPN a", "HELP", "AUTH PLAIN", "ETRN a", "XYZZY", "", " ", " NOOP", "STARTTLSFOO bar", "BDAT", "BDAT x",
		}, notYet)},
		{"R-05 binary junk", atClear, `
			C> \x00\x01\xfe\xff\r\n
			` + notYet + `
			C> \x16\x03\x01\x02\x00\x01\n
			` + notYet},
		{"R-05 BDAT's octets are consumed", atClear, `
			C> BDAT 12 LAST\r\nQUIT\r\nQUIT\r\nNOOP\r\n
			` + notYet + `
			S: 250 2.0.0 Ok`},
		{"R-05 BDAT of 64 KiB", atClear, `
			C> BDAT 65536\r\n` + strings.Repeat("x", 65536) + `NOOP\r\n
			` + notYet + `
			S: 250 2.0.0 Ok`},
		{"R-05 BDAT of more", atClear, `
			C: BDAT 65537
			S: 421 4.7.0 *
			EOF`},
		{"R-05 BDAT of more than can be counted", atClear, `
			C: BDAT 99999999999999999999
			S: 421 4.7.0 *
			EOF`},
		{"R-05 a line of 2,048 octets is whole", atClear, `
			C: NOOP ` + strings.Repeat("x", 2043) + `
			S: 250 2.0.0 Ok`},
		{"R-05 a line of 2,049 octets is one refusal", atClear, `
			C: NOOP ` + strings.Repeat("x", 2044) + `
			` + notYet + `
			C: NOOP
			S: 250 2.0.0 Ok`},
		{"R-05 good commands around a long line are answered (10)", atClear, `
			C> NOOP\r\nNOOP ` + strings.Repeat("x", 60000) + `\r\nNOOP\r\n
			S: 250 2.0.0 Ok
			` + notYet + `
			S: 250 2.0.0 Ok`},
		{"R-05 a line of 64 KiB", atClear, `
			C: ` + strings.Repeat("x", 65536) + `
			` + notYet + `
			C: NOOP
			S: 250 2.0.0 Ok`},
		{"R-05 a line without an end", atClear, `
			C> ` + strings.Repeat("x", 65537) + `
			S: 421 4.7.0 *
			EOF`},
		{"R-05 the twentieth refusal is the last", atClear,
			each(strings.Split(strings.Repeat("RSET,", 19)[:19*5-1], ","), notYet) + `
			C: RSET
			S: 421 4.7.0 *
			EOF`},
		{"R-08 EHLO", atClear, `
			C: EHLO mijnbedrijf.nl
			S: 250-msa.example.test
			S: 250-PIPELINING
			S: 250-SIZE 52428800
			S: 250-STARTTLS
			S: 250-8BITMIME
			S: 250-AUTH DIGEST-MD5
			S: 250-ENHANCEDSTATUSCODES
			S: 250-CHUNKING
			S: 250-SMTPUTF8
			S: 250-DSN
			S: 250 LIMITS RCPTMAX=1000`},
		{"EHLO's refusals have no enhanced code (2)", atClear, `
			C: EHLO
			S: 501 EHLO *
			C: HELO
			` + notYet + `
			C: EHLO ` + `
			S: 501 EHLO *`},
		{"RFC 3207 STARTTLS takes no parameters (22)", atClear, `
			C: STARTTLS now
			S: 501 5.5.4 *
			C: STARTTLS ` + `
			S: 220 2.0.0 Ready to start TLS
			TLS
			C: STARTTLS
			S: 503 5.5.1 TLS is active already`},
	})
}

// each says each line and expects the same answer.
func each(lines []string, answer string) string {
	var s strings.Builder
	for _, line := range lines {
		s.WriteString("C: " + line + "\n" + answer)
	}
	return s.String()
}

// what came in clear behind STARTTLS is neither executed nor answered; what was answered before
// is heard all the same.
func TestStartTLSInjection(t *testing.T) {
	for _, script := range []string{
		"C> STARTTLS\\r\\nNOOP\\r\\n\nEOF",
		"C> EHLO c\\r\\nSTARTTLS\\r\\nx\nS: 250-msa.example.test\nS: ...\nEOF",
		"C> NOOP\\r\\nSTARTTLS\\r\\nMAIL FROM:<a@example.org>\\r\\n\nS: 250 2.0.0 Ok\nEOF",
		"C: STARTTLS\nS: 220 2.0.0 Ready to start TLS\nC: NOOP\n", // in clear, where the handshake was due
	} {
		x := talk(t, newBackend(), atClear, script)
		if !strings.Contains(script, "EOF") {
			if s, err := x.r.ReadString('\n'); err == nil && strings.ContainsAny(s[:1], "245") {
				t.Errorf("%q: the server said %q in clear", script, s)
			}
		}
		if end := x.end(); end.Reason != EndTLS || end.Err == nil {
			t.Errorf("%q: ended as %+v", script, end)
		}
		x.close()
	}
}

// More than the server reads at once behind STARTTLS does not reset what it has said.
func TestAnswersOutliveWhatIsUnread(t *testing.T) {
	for range 20 {
		x := start(t, newBackend(), atClear)
		go func() { _ = x.send("EHLO c\r\nSTARTTLS\r\n" + strings.Repeat("x", 200<<10)) }()
		x.play("S: 250-msa.example.test\nS: ...\nEOF")
		x.close()
	}
}

// a failed handshake ends the connection (docs/dev/smtp.md section 2, 23).
func TestHandshakeFails(t *testing.T) {
	x := talk(t, newBackend(), atClear, "C: STARTTLS\nS: 220 2.0.0 Ready to start TLS\n")
	_ = x.raw.(interface{ CloseWrite() error }).CloseWrite()
	if s, _ := x.r.ReadString('\n'); s != "" {
		t.Errorf("the server said %q after the handshake failed", s)
	}
	if end := x.end(); end.Reason != EndTLS {
		t.Errorf("ended as %+v", end)
	}
}

// EHLO's name is forgotten, and what is legal after EHLO is legal at once.
func TestStraightAfterStartTLS(t *testing.T) {
	b := newBackend()
	x := talk(t, b, atClear, `
		C: EHLO mijnbedrijf.nl
		S: 250-*
		S: ...
		C: STARTTLS
		S: 220 2.0.0 Ready to start TLS
		TLS
		C: `+login+`
		S: 235 2.7.0 Authentication successful
		C: MAIL FROM:<alice@example.org>
		S: 250 2.1.0 Ok
		C: EHLO again.example
		S: 250-msa.example.test
		S: 250-PIPELINING
		S: 250-SIZE 52428800
		S: 250-8BITMIME
		S: 250-AUTH PLAIN CHAT LAST
		S: ...
		C: QUIT
		S: 221 2.0.0 Bye
		EOF`)
	if x.end(); x.conn.Helo() != "again.example" {
		t.Errorf("Helo is %q", x.conn.Helo())
	}
	x = talk(t, newBackend(), atClear, "C: EHLO first.example\nS: 250-*\nS: ...\nC: STARTTLS\nS: 220 *\nTLS\nC: NOOP\nS: 250 *")
	if x.close(); x.conn.Helo() != "" {
		t.Errorf("Helo is %q after STARTTLS", x.conn.Helo())
	}
}
