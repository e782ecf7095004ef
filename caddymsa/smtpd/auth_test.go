package smtpd

import (
	"strings"
	"testing"
)

// RFC 4954. The numbers are those of docs/dev/smtp.md section 2.
func TestAuth(t *testing.T) {
	long := strings.Repeat("A", 12288)
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
		{"6 not base64", atGreeted, each([]string{"AUTH PLAIN !!!", "AUTH PLAIN AGE"}, "S: 501 5.5.2 *\n")},
		{"6 nor is this", atGreeted, each([]string{"AUTH PLAIN AGE=\x00", "AUTH PLAIN A=GE"}, "S: 50*\n")},
		{"6 or that", atGreeted, each([]string{"AUTH PLAIN AGF=AGF=", "AUTH PLAIN AGH="}, "S: 501 5.5.2 *\n")},
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
		{"8 454 passes", atGreeted, each([]string{"AUTH PLAIN " + b64("\x00wait\x00x"), "AUTH PLAIN " + b64("\x00wait\x00x")}, "S: 454 4.7.0 *\n")},
		{"9 the longest response", atGreeted, "C: AUTH PLAIN\nS: 334 *\nC: " + long + "\nS: 451 *"},
		{"9 a longer one", atGreeted, "C: AUTH PLAIN\nS: 334 *\nC: " + long + "A\nS: 500 5.5.6 *\nC: NOOP\nS: 250 *"},
		{"9 a long initial response", atGreeted, "C: AUTH PLAIN " + strings.Repeat("A", 12000) + "\nS: 451 *"},
		{"9 a longer initial response", atGreeted, "C: AUTH PLAIN " + long + "\nS: 500 5.5.6 *\nC: NOOP\nS: 250 *"},
		{"9 only AUTH has long lines", atGreeted, "C: NOOP " + strings.Repeat("A", 2044) + "\nS: 500 5.5.2 *\nC: AUTHX " + long + "\nS: 500 5.5.2 *"},
		{"a response without an end", atGreeted, "C: AUTH PLAIN\nS: 334 *\nC> " + strings.Repeat("A", 65537) + "\nS: 421 *\nEOF"},
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

// 36: every AUTH that fails is counted, whatever its code; behind the third comes 421.
func TestAuthFailures(t *testing.T) {
	const wrong = "S: 535 5.7.8 Authentication credentials invalid\n"
	bad := "C: AUTH PLAIN " + b64("\x00alice\x00wrong") + "\n"
	for name, script := range map[string]string{
		"wrong":       bad + wrong,
		"cannot tell": "C: AUTH PLAIN " + b64("\x00wait\x00x") + "\nS: 454 4.7.0 *\n",
		"trouble":     "C: AUTH PLAIN " + b64("\x00down\x00x") + "\nS: 451 4.3.0 *\n",
		"cancelled":   "C: AUTH CHAT\nS: 334 *\nC: *\nS: 501 5.7.0 *\n",
		"unknown":     "C: AUTH GSSAPI\nS: 504 5.5.4 *\n",
		"no base64":   "C: AUTH PLAIN !\nS: 501 5.5.2 *\n",
		"malformed":   "C: AUTH\nS: 501 5.5.4 *\n",
		"too long":    "C: AUTH PLAIN " + strings.Repeat("A", 12288) + "\nS: 500 5.5.6 *\n",
		"by its form": "C: AUTH CHAT eWVz\nS: 501 5.7.0 *\n",
	} {
		t.Run(name, func(t *testing.T) {
			x := talk(t, newBackend(), atGreeted, strings.Repeat(script, 3)+"S: 421 4.7.0 *\nEOF")
			if end := x.end(); end.Reason != EndAuthFailures || x.conn.Authenticated() {
				t.Errorf("ended as %+v", end)
			}
		})
	}

	var hook int
	server, raw := socketPair(t)
	x := attach(t, newBackend(), server, raw, true, Options{Authenticated: func() { hook++ }})
	x.advance(atGreeted)
	x.play(bad + wrong + "C: " + login + "\nS: 235 *\nC: QUIT\nS: 221 *\nEOF")
	if end := x.end(); end.Reason != EndQuit || end.Err != nil || hook != 1 || !x.conn.Authenticated() {
		t.Errorf("ended as %+v, hook %d", end, hook)
	}
}
