package smtpd

import (
	"strings"
	"testing"
)

// RFC 4954. The numbers are those of docs/dev/smtp.md section 2.
func TestAuth(t *testing.T) {
	long := strings.Repeat("A", maxAuth)
	runScenarios(t, []scenario{
		{"R-09 initial response", atGreeted, "C: " + login + "\nS: 235 2.7.0 Authentication successful"}, // 7
		{"any case", atGreeted, "C: auth plain " + login[len("AUTH PLAIN "):] + "\nS: 235 2.7.0 *"},
		{"empty challenge is 334 and a space", atGreeted, `
			C: AUTH PLAIN
			S: 334 ` + `
			C: ` + b64("\x00alice\x00secret") + `
			S: 235 2.7.0 *`},
		{"four steps", atGreeted, `
			C: AUTH CHAT
			S: 334 ` + `
			C: eWVz
			S: 334 c3VyZT8=
			C: eWVz
			S: 235 2.7.0 *`},
		{"41 a last word with done", atGreeted, `
			C: AUTH LAST eWVz
			S: 334 dj1wcm9vZg==
			C:
			S: 235 2.7.0 *`},
		{"a last word wants an empty line", atGreeted, `
			C: AUTH LAST eWVz
			S: 334 dj1wcm9vZg==
			C: eWVz
			S: 501 5.5.2 *
			C: MAIL FROM:<alice@example.org>
			S: 530 5.7.0 Authentication required`},
		{"6 not base64", atGreeted, each([]string{
			"AUTH PLAIN !!!", "AUTH PLAIN AGE", "AUTH PLAIN AGE=\x00", "AUTH PLAIN A=GE", "AUTH PLAIN AGF=AGF=", "AUTH PLAIN AGH=",
		}, "S: 50*\n")},
		{"6 no mechanism, a word too many", atGreeted, each([]string{"AUTH", "AUTH PLAIN = x"}, "S: 501 5.5.4 *\n")},
		{"= is empty, and alone is no response", atGreeted, `
			C: AUTH LAST =
			S: 334 Pw==
			C: =
			S: 501 5.5.2 *`},
		{"an initial response that must not be", atGreeted, "C: AUTH CHAT eWVz\nS: 501 5.7.0 *"},
		{"7 cancelled", atGreeted, "C: AUTH CHAT\nS: 334 *\nC: *\nS: 501 5.7.0 *"},
		{"7 unknown", atGreeted, "C: AUTH GSSAPI\nS: 504 5.5.4 *"},
		{"8 a backend's trouble is not told", atGreeted, "C: AUTH PLAIN " + b64("\x00down\x00secret") + "\nS: 451 4.3.0 Temporary failure, try again later"},
		{"8 454 passes", atGreeted, each(strings.Split(strings.Repeat("AUTH PLAIN "+b64("\x00wait\x00x")+",", 5)[:5*23+4], ","), "S: 454 4.7.0 *\n")},
		{"9 the longest response", atGreeted, "C: AUTH PLAIN\nS: 334 *\nC: " + long + "\nS: 451 *"},
		{"9 a longer one", atGreeted, "C: AUTH PLAIN\nS: 334 *\nC: " + long + "A\nS: 500 5.5.6 *\nC: NOOP\nS: 250 *"},
		{"9 a long initial response", atGreeted, "C: AUTH PLAIN " + strings.Repeat("A", 12000) + "\nS: 451 *"},
		{"9 a longer initial response", atGreeted, "C: AUTH PLAIN " + long + "\nS: 500 5.5.6 *\nC: NOOP\nS: 250 *"},
		{"9 only AUTH has long lines", atGreeted, "C: NOOP " + strings.Repeat("A", 2044) + "\nS: 500 5.5.2 *\nC: AUTHX " + long + "\nS: 500 5.5.2 *"},
		{"a response without an end", atGreeted, "C: AUTH PLAIN\nS: 334 *\nC> " + strings.Repeat("A", 65537) + "\nS: 500 5.5.6 *\nS: 421 *\nEOF"},
		{"a response with a bare LF", atGreeted, "C: AUTH PLAIN\nS: 334 *\nC> AGE=\\nNOOP\\r\\nRSET\\r\\n\nS: 501 5.5.2 *\nS: 250 2.0.0 Ok"},
		{"503 once authenticated", atReady, "C: " + login + "\nS: 503 5.5.1 Already authenticated"},
		{"5 503 in a transaction", atMail, "C: " + login + "\nS: 503 5.5.1 *"},
		{"R-07 503 before EHLO", atNew, "C: " + login + "\nS: 503 5.5.1 Send EHLO first\nC: MAIL FROM:<a@example.org>\nS: 503 5.5.1 *"},
		{"HELO will do", atNew, "C: HELO c\nS: 250 msa.example.test\nC: " + login + "\nS: 235 *"},
		{"R-10 530 for what needs AUTH", atGreeted, each([]string{
			"MAIL FROM:<alice@example.org>", "MAIL", "RCPT TO:<a@example.org>", "DATA", "VRFY a", "EXPN a", "HELP", "ETRN a", "BDAT 0 LAST",
		}, "S: 530 5.7.0 Authentication required\n")},
		{"what does not", atGreeted, "C: NOOP\nS: 250 *\nC: RSET\nS: 250 2.0.0 Ok\nC: EHLO c\nS: 250-*\nS: ...\nC: XYZZY\nS: 500 5.5.2 *"},
	})
}

// 36: failures are counted, and only refused credentials are failures.
func TestAuthFailures(t *testing.T) {
	var hook int
	server, raw := socketPair(t)
	x := attach(t, newBackend(), server, raw, true, Options{Authenticated: func() { hook++ }})
	x.advance(atGreeted)
	bad := "C: AUTH PLAIN " + b64("\x00alice\x00wrong") + "\nS: 535 5.7.8 Authentication credentials invalid\n"
	x.play(bad + "C: AUTH CHAT\nS: 334 *\nC: *\nS: 501 *\n" + bad + bad + "S: 421 4.7.0 *\nEOF")
	if end := x.end(); end.Reason != EndAuthFailures || hook != 0 || x.conn.Authenticated() {
		t.Errorf("ended as %+v, hook %d", end, hook)
	}

	server, raw = socketPair(t)
	x = attach(t, newBackend(), server, raw, true, Options{Authenticated: func() { hook++ }})
	x.advance(atGreeted)
	x.play(bad + "C: " + login + "\nS: 235 *\nC: QUIT\nS: 221 *\nEOF")
	if end := x.end(); end.Reason != EndQuit || end.Err != nil || hook != 1 || !x.conn.Authenticated() {
		t.Errorf("ended as %+v, hook %d", end, hook)
	}
}
