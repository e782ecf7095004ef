package smtpd

import (
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
)

// Whatever a stranger may repeat ends: each verb, in each state before AUTH, in every form that fails
// or succeeds, is answered a bounded number of times, and the last answer is one 421.
func TestStrangersAreBounded(t *testing.T) {
	lines := []string{"", "XYZZY", "\x00\xff", "x\ny", strings.Repeat("x", 5000), "BDAT 3\r\nabc", "AUTH PLAIN " + b64("\x00a\x00b"),
		"AUTH PLAIN " + b64("\x00wait\x00b"), "AUTH PLAIN " + b64("\x00down\x00b"), "AUTH PLAIN !", "AUTH GSSAPI", "AUTH",
		"AUTH CHAT\r\n*", "AUTH CHAT\r\n!", "AUTH CHAT\r\n" + b64("no"), "AUTH CHAT " + b64("yes"), "EHLO c", "EHLO", "HELO c"}
	for verb := range commands {
		if verb != "QUIT" && verb != "STARTTLS" {
			lines = append(lines, verb, verb+" x")
		}
	}
	lines = append(lines, "STARTTLS now")
	for _, at := range []stage{atClear, atNew, atGreeted} {
		for _, line := range lines {
			b := newBackend()
			nc := &memConn{in: []byte(strings.Repeat(line+"\r\n", 3000))}
			end := serveMem(b, at, nc)
			replies := strings.Split(strings.TrimSuffix(nc.out.String(), "\r\n"), "\r\n")
			final, count := replies[len(replies)-1], 0
			for _, r := range replies {
				if len(r) > 3 && r[3] == ' ' {
					count++
				}
			}
			switch {
			case !strings.HasPrefix(final, "421 4.7.0 "):
				t.Errorf("stage %d, %.40q: the last answer of %d is %q", at, line, count, final)
			case count > 120 || nc.out.Len() > 64<<10:
				t.Errorf("stage %d, %.40q: %d answers, %d octets", at, line, count, nc.out.Len())
			case end.Commands > 120 || end.Reason == EndLost:
				t.Errorf("stage %d, %.40q: ended as %+v", at, line, end)
			case len(b.refusals) > 20:
				t.Errorf("stage %d, %.40q: the session was told of %d refusals", at, line, len(b.refusals))
			case strings.Count(strings.Join(b.calls, "\n"), "auth ") > 3:
				t.Errorf("stage %d, %.40q: the session was asked %d times", at, line, len(b.calls))
			}
		}
	}
}

// The limits of strangers are settings.
func TestSettingsOfLimits(t *testing.T) {
	b := newBackend().with(func(s *Settings) {
		s.CommandsBeforeAuth, s.CommandLine, s.AuthLine, s.Skip = 5, 512, 1000, 2000
	})
	x := talk(t, b, atClear, "C: NOOP\nS: 250 *\nC: NOOP "+strings.Repeat("x", 507)+"\nS: 250 *\nC: NOOP "+strings.Repeat("x", 508)+"\n"+notYet+
		"C> BDAT 2000\\r\\n"+strings.Repeat("x", 2000)+"\n"+notYet+"C: NOOP\nS: 250 *\nC: NOOP\nS: 421 4.7.0 Too many commands *\nEOF")
	if end := x.end(); end.Reason != EndCommands {
		t.Errorf("ended as %+v", end)
	}
	talk(t, b, atClear, "C: BDAT 2001\nS: 421 4.7.0 *\nEOF")
	talk(t, b, atClear, "C> "+strings.Repeat("x", 2003)+"\nS: 421 4.7.0 *\nEOF")
	talk(t, b, atGreeted, "C: AUTH PLAIN "+strings.Repeat("A", 984)+"\nS: 451 *\nC: AUTH PLAIN "+strings.Repeat("A", 992)+"\nS: 500 5.5.6 *")
	talk(t, b, atReady, strings.Repeat("C: NOOP\nS: 250 *\n", 50)) // a client that is known is not counted
}

// The session hears of what the engine refuses, and never of a secret.
func TestRefusalsAreTold(t *testing.T) {
	b := newBackend()
	talk(t, b, atReady, `
		C: MAIL FROM:<a@example.org> SIZE=99999999
		S: 552 *
		C: MAIL FROM:a@example.org
		S: 501 *
		C: MAIL FROM:<a@example.org>
		S: 250 *
		C: RCPT TO:<bob>
		S: 554 *
		C: RCPT TO:<nobody@example.net>
		S: 550 *
		C: DATA
		S: 554 *
		C: EHLO`+` `+`
		S: 501 *`).close()
	talk(t, b, atGreeted, "C: AUTH PLAIN !c2VjcmV0\nS: 501 *\nC: AUTH "+b64("\x00alice\x00secretsecret")+"\nS: 504 *").close()
	talk(t, b, atClear, "C: MAIL FROM:<a@example.org>\nS: 530 *\nC: RSET\nS: 530 *\nC: XYZZY\nS: 530 *").close()
	want := []Refusal{
		{Verb: "MAIL", Arg: "FROM:<a@example.org> SIZE=99999999", Reason: "Message exceeds the size limit"},
		{Verb: "MAIL", Arg: "FROM:a@example.org", Reason: "Sender address: address must be in angle brackets"},
		{Verb: "RCPT", Arg: "TO:<bob>", Reason: "Recipient address is not complete: write local-part@domain.example"},
		{Verb: "DATA", Reason: textNoRecipients}, // 550 was the session's own
		{Verb: "EHLO", Reason: "EHLO takes the client's name"},
		{Verb: "AUTH", Arg: "PLAIN", Reason: "Initial response is not base64"},
		{Verb: "AUTH", Arg: "", Reason: "Mechanism is not offered"},
		{Verb: "MAIL", Arg: "FROM:<a@example.org>", Reason: textBeforeTLS},
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.refusals) != len(want) {
		t.Fatalf("told of %+v", b.refusals)
	}
	for i, got := range b.refusals {
		got.Reply = nil
		if got != want[i] {
			t.Errorf("told of %+v, not %+v", got, want[i])
		}
	}
}

// The session hears of a line that is refused for its form too: of its verb, and of nothing else that may stand in it.
func TestRefusedLinesAreTold(t *testing.T) {
	long := strings.Repeat("x", 3000)
	const refused = "S: 500 5.5.2 *\n"
	b := newBackend()
	talk(t, b, atReady, "C: MAIL FROM:<a@example.org> ENVID="+long+"\n"+refused+"C> MAIL FROM:<a@\\r>\\r\\n\n"+refused+
		"C> mail FROM:<a@example.org>\\n\n"+refused+"C> \\r\\n\nC: rcpt "+strings.Repeat(long, 20)+"\n"+refused+"C: NOOP "+long+"\n"+refused).close()
	talk(t, b, atGreeted, "C> EHLO c\\n\n"+refused+"C> \\r\\nAUTH PLAIN s\\x00cret\\r\\n\n"+refused+"C> AUTH PLAIN secret\\n\n"+refused).close()
	talk(t, b, atClear, "C> EHLO c\\nMAIL \\x00\\r\\n\n"+notYet+"C: MAIL "+long+"\n"+notYet+"C: DATA"+strings.Repeat(long, 30)+"\nS: 421 *").close()
	want := []string{"MAIL Line is too long", "MAIL " + textControl, "MAIL " + ReasonBareLF, "RCPT Line is too long",
		"EHLO " + ReasonBareLF, "AUTH " + textControl, "AUTH " + ReasonBareLF, "EHLO " + ReasonBareLF, "MAIL Line is too long"}
	b.mu.Lock()
	defer b.mu.Unlock()
	var got []string
	for _, r := range b.refusals {
		if got = append(got, r.Verb+" "+r.Reason); r.Arg != "" {
			t.Errorf("told of %+v", r)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("told of %q, not %q", got, want)
	}
}

// A session that ends before TLS says what it tried, and what it took this port for.
func TestWhatWasTried(t *testing.T) {
	for name, tc := range map[string]struct {
		at     stage
		script string
		tried  string
		spoke  string
	}{
		"no STARTTLS": {atClear, "C: EHLO c\nS: 250-*\nS: ...\nC: MAIL FROM:<a@example.org>\nS: 530 *\nC: MAIL FROM:<a@example.org>\nS: 530 *", "EHLO MAIL", ""},
		"a secret":    {atClear, "C: c2VjcmV0\nS: 530 *\nC: NOOP\nS: 250 *", "? NOOP", ""},
		"HTTP":        {atClear, "C: GET / HTTP/1.1\nS: 530 *", "GET", "HTTP"},
		"TLS":         {atClear, "C> \\x16\\x03\\x01\\x02\\x00\\x01\\x00", "", "TLS"},
	} {
		t.Run(name, func(t *testing.T) {
			x := talk(t, newBackend(), tc.at, tc.script)
			_ = x.raw.(interface{ CloseWrite() error }).CloseWrite()
			<-x.done
			if end := x.end(); strings.Join(end.Tried, " ") != tc.tried || end.Spoke != tc.spoke {
				t.Errorf("ended as %+v", end)
			}
		})
	}
	for first, want := range map[string]string{"GET / HTTP/1.1\r\n": "HTTP", "EHLO c\r\n": "SMTP", "\x80\x2e\x01\x03\x01": ""} {
		x := dial(t, newBackend(), true)
		_ = x.send(first)
		<-x.done
		if end := x.end(); end.Reason != EndTLS || end.Spoke != want {
			t.Errorf("%q: ended as %+v", first, end)
		}
	}
}

// A stranger makes room at once, whatever it waits for; a client that has authenticated stays.
func TestMakeRoom(t *testing.T) {
	const crowded = "S: 421 4.7.0 Too many connections, try again later\nEOF"
	for _, at := range []stage{atClear, atNew, atGreeted} {
		synctest.Test(t, func(t *testing.T) {
			x := bubble(t, newBackend(), at)
			synctest.Wait()
			x.conn.MakeRoom()
			x.must(crowded)
			<-x.done
			if end := x.end(); end.Reason != EndCrowded {
				t.Errorf("ended as %+v", end)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) { // in the handshake, where nothing can be said
		x := bubble(t, newBackend(), atClear)
		x.must("C: STARTTLS\nS: 220 *")
		synctest.Wait()
		x.conn.MakeRoom()
		x.must("EOF")
		<-x.done
		if end := x.end(); end.Reason != EndCrowded {
			t.Errorf("ended as %+v", end)
		}
	})
	x := start(t, newBackend(), atReady)
	x.conn.MakeRoom()
	x.play("C: NOOP\nS: 250 *\nC: QUIT\nS: 221 *\nEOF")
}

// What a client calls itself is taken, whatever it is.
func TestHelloTakesAnyName(t *testing.T) {
	for name, want := range map[string]string{
		"M\u00dcLLER-PC": "MÜLLER-PC", "M\xdcLLER-PC": "MÜLLER-PC", "\u041f\u041a-1": "ПК-1", "[IPv6:fe80::1%eth0]": "[IPv6:fe80::1%eth0]",
		"Bob's-iPhone": "Bob's-iPhone", "my pc": "my pc", "(none)": "(none)", "a\tb\x01": "a?b?", "x\u202eabc": "x?abc", "\x9b1m": "?1m",
		strings.Repeat("é", 300): strings.Repeat("é", 127),
	} {
		for _, verb := range []string{"EHLO ", "HELO "} {
			x := start(t, newBackend(), atNew)
			_ = x.send(verb + name + "\r\n")
			x.play("S: 250*")
			_ = x.send("QUIT\r\n")
			if x.close(); x.conn.Helo() != want {
				t.Errorf("%q is taken for %q", name, x.conn.Helo())
			}
		}
	}
}

// A client that is refused hears it, even one that has spoken already.
func TestRefuseIsHeard(t *testing.T) {
	for range 20 {
		server, client := socketPair(t)
		_, _ = client.Write([]byte("EHLO c\r\n" + strings.Repeat("NOOP\r\n", 1000)))
		go Refuse(server, "Too many connections")
		if said, err := io.ReadAll(client); err != nil || string(said) != "421 4.7.0 Too many connections\r\n" {
			t.Fatalf("%q, %v", said, err)
		}
		_ = client.Close()
	}
}
