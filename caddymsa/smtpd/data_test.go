package smtpd

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/emersion/go-smtp"
)

// sent plays octets after 354 and returns what was stored.
func sent(t *testing.T, b *backend, octets, answer string) []string {
	t.Helper()
	x := start(t, b, atData)
	if err := x.send(octets); err != nil {
		t.Fatal(err)
	}
	x.play(answer + "\nC: NOOP\nS: 250 2.0.0 Ok\nC: QUIT\nS: 221 *\nEOF")
	x.close()
	return b.messages
}

const queued = "S: 250 2.0.0 Ok: queued as ID"

// The numbers are those of docs/dev/smtp.md section 2.
func TestData(t *testing.T) {
	for _, tc := range []struct{ name, octets, answer, stored string }{
		{"empty", ".\r\n", queued, ""},
		{"R-14", "a: b\r\n\r\nc\r\n.\r\n", queued, "a: b\r\n\r\nc\r\n"},
		{"stuffed", "..\r\n...x\r\n.\r\n", queued, ".\r\n..x\r\n"},
		{"a dot too many is taken out", ".x\r\n.\r\n", queued, "x\r\n"},
		{"10 lines have no limit", strings.Repeat("x", 100000) + "\r\n.\r\n", queued, strings.Repeat("x", 100000) + "\r\n"},
		{"16 CR CR LF", "x\r\r\n.\r\n", "S: 554 5.6.0 Message has a bare CR: lines must end in CRLF", "-"},
		{"17 .CR X", ".\rX\r\n.\r\n", "S: 554 5.6.0 Message has a bare CR*", "-"},
		{"18 LF . LF", "x\n.\nMAIL FROM:<x@example.org>\r\n.\r\n", "S: 554 5.6.0 Message has a bare LF: lines must end in CRLF", "-"},
		{"18 LF . CR LF", "x\n.\r\nRSET\r\n.\r\n", "S: 554 5.6.0 *", "-"},
		{"18 CR . CR", "x\r.\rRSET\r\n.\r\n", "S: 554 5.6.0 *", "-"},
		{"18 CR LF . LF", "x\r\n.\nRSET\r\n.\r\n", "S: 554 5.6.0 *", "-"},
		{"18 CR LF . CR", "x\r\n.\rRSET\r\n.\r\n", "S: 554 5.6.0 *", "-"},
		{"18 CR LF CR . CR LF", "x\r\n\r.\r\n.\r\n", "S: 554 5.6.0 *", "-"},
		{"18 NUL", "x\x00\r\n.\r\n", "S: 554 5.6.0 Message has a NUL octet", "-"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got := strings.Join(sent(t, newBackend(), tc.octets, tc.answer), "|")
			if tc.stored == "-" {
				tc.stored = ""
			}
			if got != tc.stored {
				t.Errorf("stored %.200q", got)
			}
		})
	}
}

func TestNormalizeNewlines(t *testing.T) {
	for _, tc := range []struct{ octets, stored string }{
		{"a\r\nb\r\n.\r\n", "a\r\nb\r\n"},
		{"a\nb\r\n.\r\n", "a\r\nb\r\n"},
		{"a\rb\r\n.\r\n", "a\r\nb\r\n"},
		{"a\x00b\r\n.\r\n", "ab\r\n"},
		{"a\r\r\n.\r\n", "a\r\n\r\n"},
		{"a\n.\nb\r\n.\r\n", "a\r\n.\r\nb\r\n"}, // stored, and stuffed again by whoever relays it
	} {
		b := newBackend().with(func(s *Settings) { s.NormalizeNewlines = true })
		if got := sent(t, b, tc.octets, queued); len(got) != 1 || got[0] != tc.stored {
			t.Errorf("%q was stored as %q", tc.octets, got)
		}
	}
	// What is stored is held to the limit too.
	b := newBackend().with(func(s *Settings) { s.NormalizeNewlines, s.MessageSize = true, 10 })
	sent(t, b, "\n\n\n\n\n\r\n.\r\n", "S: 552 5.3.4 *")
}

// R-13, 15: a message of exactly the limit passes; dots that are stuffed do not count.
func TestSizeLimit(t *testing.T) {
	limit := func() *backend { return newBackend().with(func(s *Settings) { s.MessageSize = 20 }) }
	sent(t, limit(), "..34567890123456789\r\n.\r\n", queued) // 20 octets, dot and CRLF included
	sent(t, limit(), "..345678901234567890\r\n.\r\n", "S: 552 5.3.4 *")
	sent(t, limit(), "RSET\r\nRSET\r\nRSET\r\nRSET\r\n.\r\n", "S: 552 5.3.4 *")
}

func TestDataRefusedWhole(t *testing.T) {
	b := newBackend()
	b.writeErr = &smtp.SMTPError{Code: 452, EnhancedCode: smtp.EnhancedCode{4, 3, 1}, Message: "Insufficient storage"}
	sent(t, b, "x\r\nRSET\r\n.\r\n", "S: 452 4.3.1 Insufficient storage")
	if len(b.aborts) != 1 || !errors.Is(b.aborts[0], b.writeErr) {
		t.Errorf("aborted with %v", b.aborts)
	}
}

// A body that does not end is a body that was never sent.
func TestDataLost(t *testing.T) {
	for _, octets := range []string{"", "x", "x\\r\\n.", "x\\r\\n.\\r", "x\\r\\n.\\n"} {
		b := newBackend()
		x := talk(t, b, atData, "C> "+octets+"\nHALF\nEOF")
		if end := x.end(); end.Reason != EndLost || len(b.messages) != 0 || len(b.aborts) != 1 {
			t.Errorf("%q: ended as %+v, messages %q, aborts %v", octets, end, b.messages, b.aborts)
		}
	}
}

// An excess beyond hope is not read to its end.
func TestDataHopeless(t *testing.T) {
	b := newBackend().with(func(s *Settings) { s.MessageSize = 1000 })
	x := start(t, b, atData)
	go func() {
		block := strings.Repeat(strings.Repeat("x", 76)+"\r\n", 1000)
		for x.send(block) == nil {
		}
	}()
	x.play("S: 552 5.3.4 *\nS: 421 4.3.0 *\nEOF")
	if end := x.end(); end.Reason != EndRefused {
		t.Errorf("ended as %+v", end)
	}
}

// The numbers are those of docs/dev/smtp.md section 2.
func TestBDAT(t *testing.T) {
	runScenarios(t, []scenario{
		{"one chunk", atRcpt, "C> BDAT 6 LAST\\r\\nabcd\\r\\n\n" + queued},
		{"three chunks, pipelined", atRcpt, "C> BDAT 2\\r\\nabBDAT 2\\r\\ncdBDAT 0 LAST\\r\\nNOOP\\r\\n\nS: 250 2.0.0 2 octets received\nS: 250 2.0.0 4 octets received\n" + queued + "\nS: 250 2.0.0 Ok"},
		{"nothing at all", atRcpt, "C: BDAT 0 LAST\n" + queued},
		{"11 a long line at once", atRcpt, "C> BDAT 5000 last\\r\\n" + strings.Repeat("x", 5000) + "\n" + queued},
		{"a dot is a dot", atRcpt, "C> BDAT 5 LAST\\r\\n\\r\\n.\\r\\n\n" + queued},
		{"CR | LF", atRcpt, "C> BDAT 2\\r\\na\\rBDAT 1 LAST\\r\\n\\n\nS: 250 *\n" + queued},
		{"CR at the end", atRcpt, "C> BDAT 2 LAST\\r\\na\\r\nS: 554 5.6.0 Message has a bare CR*"},
		{"CR | x", atRcpt, "C> BDAT 2\\r\\na\\rBDAT 1 LAST\\r\\nx\nS: 250 *\nS: 554 5.6.0 Message has a bare CR*"},
		{"LF", atRcpt, "C> BDAT 2 LAST\\r\\na\\n\nS: 554 5.6.0 Message has a bare LF*"},
		{"DATA does not mix", atRcpt, "C> BDAT 1\\r\\na\nS: 250 *\nC: DATA\nS: 503 5.5.1 *\nC: MAIL FROM:<>\nS: 503 *\nC: RCPT TO:<a@example.org>\nS: 503 *\nC: " + login + "\nS: 503 *"},
		{"RSET forgets", atRcpt, "C> BDAT 1\\r\\na\nS: 250 *\nC: RSET\nS: 250 *\nC> BDAT 4\\r\\nQUIT\nS: 503 5.5.1 Send MAIL first"},
		{"after LAST", atRcpt, "C> BDAT 1 LAST\\r\\naBDAT 4 LAST\\r\\nQUITNOOP\\r\\n\n" + queued + "\nS: 503 5.5.1 *\nS: 250 2.0.0 Ok"},
		{"RFC 3030 a refused chunk's octets are consumed, and those of the next", atRcpt,
			"C> BDAT 2\\r\\na\\nBDAT 6\\r\\nQUIT\\r\\nBDAT 6 LAST\\r\\nQUIT\\r\\nNOOP\\r\\n\nS: 554 5.6.0 *\nS: 503 5.5.1 An earlier chunk was refused*\nS: 503 5.5.1 *\nS: 250 2.0.0 Ok\nC: MAIL FROM:<>\nS: 250 *"},
		{"thirty chunks in flight behind a refused one are not bad commands", atRcpt,
			"C> BDAT 1\\r\\n\\n" + strings.Repeat("BDAT 1\\r\\nx", 30) + "\nS: 554 *\n" + strings.Repeat("S: 503 5.5.1 An earlier *\n", 30) + "C: NOOP\nS: 250 *"},
		{"syntax with a size", atRcpt, "C> BDAT 4 FIRST\\r\\nQUITNOOP\\r\\n\nS: 501 5.5.4 *\nS: 250 2.0.0 Ok"},
		{"nothing becomes of a message that lacks a chunk", atRcpt,
			"C> BDAT 4 FIRST\\r\\nQUITBDAT 4 LAST\\r\\nQUITNOOP\\r\\n\nS: 501 5.5.4 *\nS: 503 5.5.1 An earlier chunk was refused, send RSET\nS: 250 2.0.0 Ok\nC: MAIL FROM:<>\nS: 250 *"},
		{"nor of one that lacks a later chunk", atRcpt,
			"C> BDAT 1\\r\\naBDAT 4 FIRST\\r\\nQUITBDAT 0 LAST\\r\\nMAIL FROM:<>\\r\\n\nS: 250 *\nS: 501 5.5.4 *\nS: 503 5.5.1 An earlier *\nS: 250 *"},
		{"nor of one whose first chunk came before RCPT", atMail,
			"C> BDAT 4\\r\\nQUITRCPT TO:<a@example.org>\\r\\nBDAT 4 LAST\\r\\nQUIT\nS: 503 5.5.1 Send RCPT first\nS: 503 5.5.1 *\nS: 503 5.5.1 An earlier *\nC: MAIL FROM:<>\nS: 250 *"},
		{"what follows the last chunk is the next message", atMail,
			"C> BDAT 4 LAST\\r\\nQUITRCPT TO:<a@example.org>\\r\\nBDAT 1 LAST\\r\\nx\nS: 503 5.5.1 Send RCPT first\nS: 250 *\n" + queued},
		{"a line that cannot be read may have announced octets", atRcpt,
			"C> BDAT 16 LAST\\nX\\r\\nMAIL FROM:<>\\r\\n\nS: 421 4.7.0 Cannot tell how much follows, closing the connection\nEOF"},
		{"no size at all", atRcpt, "C: BDAT\nS: 501 5.5.4 *\nC: NOOP\nS: 250 *"},
		{"no telling what follows", atRcpt, "C: BDAT -1\nS: 421 4.7.0 *\nEOF"},
		{"19 no counting what follows", atRcpt, "C: BDAT 99999999999999999999\nS: 421 4.7.0 *\nEOF"},
		{"before AUTH", atGreeted, "C> BDAT 4\\r\\nQUITNOOP\\r\\n\nS: 530 5.7.0 Authentication required\nS: 250 2.0.0 Ok\nC: BDAT 70000\nS: 421 4.7.0 *\nEOF"},
		{"before EHLO", atNew, "C> BDAT 4\\r\\nQUITNOOP\\r\\n\nS: 503 5.5.1 Send EHLO first\nS: 250 2.0.0 Ok"},
	})
}

// 12: a truncated BDAT is no message, and close_notify is not its end.
func TestBDATLost(t *testing.T) {
	for _, octets := range []string{"BDAT 10 LAST\\r\\nabc", "BDAT 3\\r\\nabc", "BDAT 3\\r\\nabcBDAT 1 LAST\\r\\n"} {
		b := newBackend()
		x := talk(t, b, atRcpt, "C> "+octets+"\nHALF")
		_, _ = io.Copy(io.Discard, x.r)
		if end := x.end(); end.Reason != EndLost || len(b.messages) != 0 || len(b.aborts) != 1 {
			t.Errorf("%q: ended as %+v, messages %q, aborts %v", octets, end, b.messages, b.aborts)
		}
	}
}

func TestBDATSizeLimit(t *testing.T) {
	b := newBackend().with(func(s *Settings) { s.MessageSize = 4 })
	talk(t, b, atRcpt, "C> BDAT 2\\r\\nabBDAT 2 LAST\\r\\ncd\nS: 250 *\n"+queued+`
		C: MAIL FROM:<>
		S: 250 *
		C: RCPT TO:<a@example.org>
		S: 250 *
		C> BDAT 2\r\nabBDAT 3\r\ncdeBDAT 1 LAST\r\nx
		S: 250 *
		S: 552 5.3.4 *
		S: 503 *`).close()
	if len(b.messages) != 1 || b.messages[0] != "abcd" {
		t.Errorf("stored %q", b.messages)
	}
}

// A Begin that fails fails the chunks that are on their way too.
func TestBDATBeginFails(t *testing.T) {
	b := newBackend()
	b.beginErr = &smtp.SMTPError{Code: 452, EnhancedCode: smtp.EnhancedCode{4, 3, 1}, Message: "Full"}
	talk(t, b, atRcpt, "C> BDAT 4\\r\\nQUITBDAT 4 LAST\\r\\nQUITRSET\\r\\nMAIL FROM:<>\\r\\n\nS: 452 4.3.1 Full\nS: 503 *\nS: 250 *\nS: 250 2.1.0 Ok").close()
	talk(t, b, atRcpt, "C> BDAT 4 LAST\\r\\nQUITMAIL FROM:<>\\r\\n\nS: 452 4.3.1 Full\nS: 250 2.1.0 Ok").close()
}
