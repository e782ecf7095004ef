package smtpd

import (
	"errors"
	"strings"
	"testing"

	"github.com/emersion/go-smtp"
)

// The numbers are those of docs/dev/smtp.md section 2.
func TestEnvelope(t *testing.T) {
	runScenarios(t, []scenario{
		{"R-15, 21", atReady, "C: MAIL FROM:<alice@example.org>\nS: 250 2.1.0 Ok\nC: rcpt to:<bob@example.net>\nS: 250 2.1.5 Ok\nC: data\nS: 354 End data with <CR><LF>.<CR><LF>"},
		{"3 order", atReady, each([]string{"RCPT TO:<a@example.org>", "DATA", "BDAT 0 LAST"}, "S: 503 5.5.1 Send MAIL first\n")},
		{"3 order within", atMail, each([]string{"DATA", "BDAT 0 LAST"}, "S: 503 5.5.1 Send RCPT first\n")},
		{"4 a second MAIL", atRcpt, "C: MAIL FROM:<other@example.org>\nS: 503 5.5.1 *"},
		{"28 white space at the end", atMail, "C: RSET \t\nS: 250 2.0.0 Ok\nC: NOOP  \nS: 250 *\nC: QUIT \nS: 221 *"},
		{"28 long verbs", atReady, "C: XCLIENT NAME=x\nS: 500 5.5.2 *\nC: VERYLONGVERB x\nS: 500 5.5.2 *"},
		{"parameters where none belong", atReady, each([]string{"RSET x", "QUIT x"}, "S: 501 5.5.4 *\n")},
		{"DATA x", atRcpt, "C: DATA x\nS: 501 5.5.4 *"},
		{"R-12 sender syntax", atReady, each([]string{
			"MAIL FROM:alice@example.org", "MAIL FROM:<alice@@example.org>", "MAIL FROM:<a..b@example.org>", "MAIL FROM:<@a.example:b@example.org>",
			"MAIL FROM:<al ice@example.org>", "MAIL FROM:", "MAIL FROM:<\xff@example.org>", "MAIL FROM:<a@example.org>x",
		}, "S: 501 5.1.7 *\n")},
		{"R-12 sender not qualified", atReady, each([]string{"MAIL FROM:<alice>", "MAIL FROM:<alice@localhost>", "MAIL FROM:<Postmaster>"}, "S: 554 5.1.7 *\n")},
		{"R-12 recipient syntax", atMail, each([]string{"RCPT TO:bob@example.net", "RCPT TO:<>", "RCPT TO:<b..b@example.net>"}, "S: 501 5.1.3 *\n")},
		{"R-12 recipient not qualified is no bad command", atMail, each(strings.Split(strings.Repeat("RCPT TO:<bob>,", 25)[:25*14-1], ","), "S: 554 5.1.3 *\n")},
		{"29 Postmaster, quoted", atMail, each([]string{"RCPT TO:<Postmaster>", `RCPT TO:<"a@evil.example"@example.org>`, "RCPT TO: <bob@example.net>"}, "S: 250 2.1.5 Ok\n")},
		{"null sender", atReady, "C: MAIL FROM:<>\nS: 250 2.1.0 Ok"},
		{"R-13, 19 SIZE", atReady, `
			C: MAIL FROM:<a@example.org> SIZE=52428801
			S: 552 5.3.4 *
			C: MAIL FROM:<a@example.org> SIZE=4294967296
			S: 552 5.3.4 *
			C: MAIL FROM:<a@example.org> SIZE=99999999999999999999
			S: 552 5.3.4 *
			C: MAIL FROM:<a@example.org> SIZE=000000000000000000001
			S: 501 5.5.4 *
			C: MAIL FROM:<a@example.org> SIZE=52428800
			S: 250 2.1.0 Ok`},
		{"20 parameters of MAIL", atReady, each([]string{
			"MAIL FROM:<a@example.org> SIZE", "MAIL FROM:<a@example.org> SIZE=", "MAIL FROM:<a@example.org> SIZE=-1", "MAIL FROM:<a@example.org> BODY=9BIT",
			"MAIL FROM:<a@example.org> BODY=BINARYMIME", "MAIL FROM:<a@example.org> SMTPUTF8=yes", "MAIL FROM:<a@example.org> RET=SOME", "MAIL FROM:<a@example.org> RET",
			"MAIL FROM:<a@example.org> ENVID=", "MAIL FROM:<a@example.org> ENVID=+0D+0A", "MAIL FROM:<a@example.org> ENVID=+C3+B8", "MAIL FROM:<a@example.org> ENVID=+zz",
			"MAIL FROM:<a@example.org> AUTH=", "MAIL FROM:<a@example.org> SIZE=1 SIZE=1", "MAIL FROM:<a@example.org> =1",
		}, "S: 501 5.5.4 *\n")},
		{"20 unknown parameters", atReady, each([]string{
			"MAIL FROM:<a@example.org> XYZZY", "MAIL FROM:<a@example.org> BY=1;R", "MAIL FROM:<a@example.org> MT-PRIORITY=1", "MAIL FROM:<a@example.org> REQUIRETLS",
			"MAIL FROM:<a@example.org> NOTIFY=NEVER",
		}, "S: 555 5.5.4 *\n")},
		{"parameters of RCPT", atMail, each([]string{
			"RCPT TO:<b@example.net> NOTIFY=", "RCPT TO:<b@example.net> NOTIFY=NEVER,DELAY", "RCPT TO:<b@example.net> NOTIFY=never,Never", "RCPT TO:<b@example.net> NOTIFY=SOMETIMES", "RCPT TO:<b@example.net> ORCPT=bob",
			"RCPT TO:<b@example.net> ORCPT=rfc822;", "RCPT TO:<b@example.net> ORCPT=rfc822;a+0Ab", "RCPT TO:<b@example.net> ORCPT=r(c;a", "RCPT TO:<b@example.net> ORCPT=rfc822;" + strings.Repeat("x", 500),
		}, "S: 501 5.5.4 *\n")},
		{"33 unknown to RCPT", atMail, each([]string{"RCPT TO:<b@example.net> BY=1;R", "RCPT TO:<b@example.net> SIZE=1"}, "S: 555 5.5.4 *\n")},
		{"34 ORCPT of any type", atMail, each([]string{"RCPT TO:<b@example.net> ORCPT=x400;/C+3Dnl/", "RCPT TO:<b@example.net> ORCPT=utf-8;b+C3+B8b@example.net"}, "S: 250 2.1.5 Ok\n")},
		{"RFC 6531 UTF-8", atReady, `
			C: MAIL FROM:<bøb@example.org>
			S: 553 5.6.7 *
			C: MAIL FROM:<bøb@example.org> SMTPUTF8
			S: 250 2.1.0 Ok
			C: RCPT TO:<bøb@bücher.example>
			S: 250 2.1.5 Ok
			C: RSET
			S: 250 *
			C: MAIL FROM:<a@example.org>
			S: 250 *
			C: RCPT TO:<bøb@example.net>
			S: 553 5.6.7 *`},
		{"no valid recipients", atMail, `
			C> RCPT TO:<nobody@example.net>\r\nDATA\r\nBDAT 4\r\nQUITNOOP\r\n
			S: 550 5.7.1 *
			S: 554 5.5.1 No valid recipients
			S: 554 5.5.1 No valid recipients
			S: 250 2.0.0 Ok`},
		{"no valid recipients behind a line that is refused", atMail, `
			C> RCPT TO:<b\x00@example.net>\r\nDATA\r\n
			S: 500 5.5.2 *
			S: 554 5.5.1 No valid recipients`},
		{"18 a bare LF does not make two commands", atReady, `
			C> NOOP\nRSET\r\nNOOP\r\n
			S: 500 5.5.2 A line must end in CRLF, not in LF alone
			S: 250 2.0.0 Ok
			C> MAIL FROM:<a@example.org>\n
			S: 500 5.5.2 *
			C> QUIT\n
			S: 500 5.5.2 *
			C> QUIT\r\nRCPT TO:<b@example.net>\r\n
			S: 503 5.5.1 Send MAIL first`},
		{"18 nor does one in a long line", atReady, "C> " + strings.Repeat("x", 20000) + "\\nQUIT\\r\\nNOOP\\r\\n\nS: 500 5.5.2 *\nS: 250 *"},
		{"a bare CR or a NUL in a line", atReady, "C> NOOP\\rQUIT\\r\\n\nS: 500 5.5.2 *\nC> NOOP \\x00\\r\\n\nS: 500 5.5.2 *\nC> NOOP\\r\\r\\n\nS: 500 5.5.2 *"},
		{"14, 40, 41 HELP, VRFY, EXPN", atReady, `
			C: HELP
			S: 214-2.0.0 *
			S: 214 2.0.0 *
			C: VRFY alice
			S: 252 2.0.0 *
			C: VRFY
			S: 501 5.5.4 *
			C: EXPN staff
			S: 502 5.5.1 *
			C: ETRN example.org
			S: 502 5.5.1 *`},
		{"36 twenty bad commands", atReady, each(strings.Split(strings.Repeat("X,", 19)[:37], ","), "S: 500 5.5.2 *\n") + "C: X\nS: 421 4.7.0 *\nEOF"},
		{"EHLO ends a transaction", atRcpt, "C: EHLO c\nS: 250-*\nS: ...\nC: RCPT TO:<a@example.org>\nS: 503 *\nC: MAIL FROM:<>\nS: 250 *"},
		{"31 replies of a turn", atReady, "C> MAIL FROM:<a@example.org>\\r\\nRCPT TO:<b@example.net>\\r\\nRCPT TO:<b>\\r\\nDATA\\r\\n\nS: 250 2.1.0 Ok\nS: 250 2.1.5 Ok\nS: 554 *\nS: 354 *"},
	})
}

func TestParametersArrive(t *testing.T) {
	b := newBackend()
	talk(t, b, atReady, `
		C: MAIL FROM:<"al ice"@example.org> SIZE=10 body=8bitmime RET=hdrs ENVID=a+2Bb AUTH=e+3Dmc2@example.com SMTPUTF8
		S: 250 2.1.0 Ok
		C: RCPT TO:<bob@example.net> NOTIFY=success,FAILURE,SUCCESS ORCPT=rfc822;b+2Bob@example.net
		S: 250 2.1.5 Ok`).close()
	o, r := b.options[0], b.rcptOpts[0]
	if o.Size != 10 || o.Body != smtp.Body8BitMIME || o.Return != smtp.DSNReturnHeaders || o.EnvelopeID != "a+b" || *o.Auth != "e=mc2@example.com" ||
		!o.UTF8 || o.ExactPath != `"al ice"@example.org` {
		t.Errorf("MAIL: %+v", o)
	}
	if len(r.Notify) != 2 || r.ORCPT != "rfc822;b+2Bob@example.net" || r.OriginalRecipient != "b+ob@example.net" || r.OriginalRecipientType != "RFC822" {
		t.Errorf("RCPT: %+v", r)
	}
}

// A priority is written as RFC 6710 section 5 has it: no sign but a minus, no zero in front.
func TestPriorityForm(t *testing.T) {
	b := newBackend().with(func(s *Settings) { s.Priority = 9 })
	for _, bad := range []string{"03", "-03", "-0", "00", "+3", "10", "", "x"} {
		talk(t, b, atReady, "C: MAIL FROM:<a@example.org> MT-PRIORITY="+bad+"\nS: 501 5.5.4 *").close()
	}
	for _, good := range []string{"0", "9", "-9"} {
		talk(t, b, atReady, "C: MAIL FROM:<a@example.org> MT-PRIORITY="+good+"\nS: 250 *").close()
	}
}

// What a client that pipelines sends behind a MAIL that is refused is not its mistake (RFC 2920 section 3.1), as often
// as a message may have recipients; without such a MAIL it is.
func TestBehindRefusedMail(t *testing.T) {
	const refused = "S: 503 5.5.1 Send MAIL first\n"
	rcpt := "C: RCPT TO:<b@example.net>\n" + refused
	rest := strings.Repeat(rcpt, 24) + "C: DATA\n" + refused + "C> BDAT 6\\r\\nQUIT\\r\\n\n" + refused
	long := "C: MAIL FROM:<a@example.org> ENVID=" + strings.Repeat("x", 3000) + "\nS: 500 *\n"
	for name, script := range map[string]string{
		"the engine's":  "C: MAIL FROM:<a@example.org> SIZE=99999999\nS: 552 *\n" + rest,
		"syntax":        "C: MAIL FROM:a@example.org\nS: 501 *\n" + rest,
		"the session's": "C: MAIL FROM:<mallory@example.org>\nS: 550 *\n" + rest,
		"its line":      long + rest,
	} {
		b := newBackend()
		if end := talk(t, b, atReady, script+"C: MAIL FROM:<a@example.org>\nS: 250 *\nC: QUIT\nS: 221 *").end(); end.BadCommands > 1 {
			t.Errorf("%s: %d bad commands", name, end.BadCommands)
		}
	}
	ends := strings.Repeat(rcpt, 19) + "C: RCPT TO:<b@example.net>\nS: 421 4.7.0 *\nEOF"
	size := "C: MAIL FROM:<a@example.org> SIZE=99999999\nS: 552 *\n"
	few := func(s *Settings) { s.Recipients = 3 }
	talk(t, newBackend().with(few), atReady, size+strings.Repeat(rcpt, 4)+ends)
	talk(t, newBackend(), atReady, size+"C: RSET\nS: 250 *\n"+ends)
	talk(t, newBackend(), atReady, size+"C: HELO c\nS: 250 *\n"+ends)
	talk(t, newBackend(), atReady, size+"C: MAIL FROM:<a@example.org>\nS: 250 *\nC: RSET\nS: 250 *\n"+ends)
}

// RFC 5321 section 4.5.3.1.10.
func TestTooManyRecipients(t *testing.T) {
	b := newBackend().with(func(s *Settings) { s.Recipients = 2 })
	one := "C: RCPT TO:<bob@example.net>\nS: "
	talk(t, b, atMail, one+"250 2.1.5 Ok\n"+one+"250 2.1.5 Ok\n"+one+"452 4.5.3 *\n"+one+"452 4.5.3 *\nC: DATA\nS: 354 *")
}

// 8, 32: what the session says is said as it is, and nothing else.
func TestErrorsOfTheSession(t *testing.T) {
	for _, tc := range []struct {
		err  error
		want string
	}{
		{errors.New("open /var/spool: permission denied"), "S: 451 4.3.0 Temporary failure, try again later"},
		{&smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 7, 1}, Message: "No"}, "S: 550 5.7.1 No"},
		{&smtp.SMTPError{Code: 550, Message: "No"}, "S: 550 5.0.0 No"},
		{&smtp.SMTPError{Code: 550, EnhancedCode: smtp.NoEnhancedCode, Message: "No"}, "S: 550 No"},
		{&smtp.SMTPError{Code: 450, EnhancedCode: smtp.EnhancedCode{5, 7, 1}, Message: "Later"}, "S: 450 4.7.1 Later"}, // RFC 2034 section 4
		{&smtp.SMTPError{Code: 450, EnhancedCode: smtp.EnhancedCode{4, 2, 1}, Message: "one\ntwo\r\nthree"}, "S: 450-4.2.1 one\nS: 450-4.2.1 two \nS: 450 4.2.1 three"},
		{&smtp.SMTPError{Code: 250, EnhancedCode: smtp.EnhancedCode{2, 0, 0}, Message: "Ok"}, "S: 451 4.3.0 *"},
		{&smtp.SMTPError{Code: 554, EnhancedCode: smtp.EnhancedCode{5, 0, 0}, Message: strings.Repeat("x", 2000)}, "S: 554 5.0.0 " + strings.Repeat("x", 500)},
		{&smtp.SMTPError{Code: 554, EnhancedCode: smtp.EnhancedCode{5, 0, 0}, Message: "b\xc3\xb8b\x00"}, "S: 554 5.0.0 b??b "},
		{&smtp.SMTPError{Code: 421, EnhancedCode: smtp.EnhancedCode{4, 7, 0}, Message: "Gone"}, "S: 421 4.7.0 Gone\nEOF"},
	} {
		b := newBackend()
		b.mailErr = tc.err
		talk(t, b, atReady, "C: MAIL FROM:<a@example.org>\n"+tc.want).close()
		b = newBackend()
		b.rcptErr = tc.err
		talk(t, b, atMail, "C: RCPT TO:<a@example.org>\n"+tc.want).close()
		b = newBackend()
		b.beginErr = tc.err
		talk(t, b, atRcpt, "C: DATA\n"+tc.want).close()
		b = newBackend()
		b.commit = tc.err
		talk(t, b, atData, "C: .\n"+tc.want).close()
	}
}
