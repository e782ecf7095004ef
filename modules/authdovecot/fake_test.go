//go:build linux

package authdovecot

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
)

const greeting = "VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nMECH\tSCRAM-SHA-256\tmutual-auth\nSPID\t1\nCUID\t1\nCOOKIE\t00\nDONE\n"

// fake plays Dovecot: it greets each connection so and answers each line, except the handshake's,
// with what answer returns.
func fake(t testing.TB, greeting string, answer func(line string) string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer nc.Close()
				_, _ = io.WriteString(nc, greeting)
				for r := bufio.NewScanner(nc); r.Scan(); {
					if line := r.Text(); !strings.HasPrefix(line, "VERSION\t") && !strings.HasPrefix(line, "CPID\t") {
						_, _ = io.WriteString(nc, answer(line))
					}
				}
			}()
		}
	}()
	return path
}

// idOf is the id in a line.
func idOf(line string) string {
	words := strings.Split(line, "\t")
	if len(words) < 2 {
		return "0"
	}
	return words[1]
}

// What a FAIL means, and an OK.
func TestAnswers(t *testing.T) {
	var answer string
	d := must(t, &Dovecot{Attributes: []string{"a"}, Address: fake(t, greeting, func(line string) string {
		return strings.ReplaceAll(answer, "ID", idOf(line))
	})})
	d.refusal.Store(0)
	for text, want := range map[string]string{
		"OK\tID\tuser=alice\n":                            "",
		"OK\tID\t\tuser=bob\tuser=alice\n":                "",
		"NEWS\t1\nOK\t77\tuser=bob\nOK\tID\tuser=alice\n": "",
		"OK\tID\tuser=alice\ta=x\x01ty\x011\x01l\x01z\n":  "",
		"OK\tID\n":               "cannot tell",
		"OK\tID\tuser\n":         "cannot tell",
		"OK\tID\tuser=a\x01tb\n": "cannot tell",
		"OK\tID\tuser=alice\tproxy\thost=x\tpass=secret\n": "cannot tell",
		"OK\tID\tuser=alice\tnologin\treason=away\n":       "refused",
		"FAIL\tID\n":                                "refused",
		"FAIL\tID\tuser=alice\tauthz\n":             "refused",
		"FAIL\tID\tuser=alice\tuser_disabled\n":     "refused",
		"FAIL\tID\tuser=alice\tcode=pass_expired\n": "refused",
		"FAIL\tID\tuser=alice\ttemp\n":              "cannot tell",
		"FAIL\tID\tcode=temp_fail\n":                "cannot tell",
		"CONT\tID\t\n":                              "cannot tell",
		"USER\tID\talice\n":                         "cannot tell",
		"NOTFOUND\tID\n":                            "cannot tell",
	} {
		answer = text
		id, err := d.VerifyPassword(ctx, peer, "alice", "secret")
		got := ""
		if refusedBy(err) {
			got = "refused"
		} else if err != nil {
			got = "cannot tell"
		}
		if got != want || err == nil && id.User != "alice" {
			t.Errorf("%q: %+v, %v, want %q", text, id, err, want)
		}
		if strings.Contains(text, "a=") && id.Attributes["a"] != "x\ty\x01\nz" {
			t.Errorf("%q", id.Attributes)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("the error shows a password: %v", err)
		}
	}
}

// The words of a request, in the order that Dovecot wants.
func TestRequest(t *testing.T) {
	lines := make(chan string, 10)
	d := must(t, &Dovecot{Service: "submission", Mechanisms: []string{sasl.SCRAMSHA256}, Address: fake(t, greeting, func(line string) string {
		lines <- line
		return "FAIL\t" + idOf(line) + "\n"
	})})
	want := func(line string) {
		t.Helper()
		if got := <-lines; got != line {
			t.Errorf("%q, want %q", got, line)
		}
	}
	_, _ = d.VerifyPassword(ctx, peer, "alice", "secret")
	want("AUTH\t1\tPLAIN\tservice=submission\tsecured\tno-penalty\trip=127.0.0.1\tsession=test\tresp=AGFsaWNlAHNlY3JldA==")
	for _, response := range []struct {
		octets []byte
		end    string
	}{{nil, ""}, {[]byte{}, "\tresp="}, {[]byte("x"), "\tresp=eA=="}} {
		x := d.ProxyExchange(peer, sasl.SCRAMSHA256)
		_, _, _ = x.Next(ctx, response.octets)
		if got := <-lines; !strings.HasSuffix(got, "\trip=127.0.0.1\tsession=test"+response.end) {
			t.Errorf("%q: %q", response.octets, got)
		}
		_ = x.Close()
	}
	// Any octets of a session's id stay in their place.
	odd := peer
	odd.Session = "a\tresp=x\n\x00"
	_, _ = d.VerifyPassword(ctx, odd, "alice", "secret")
	want("AUTH\t5\tPLAIN\tservice=submission\tsecured\tno-penalty\trip=127.0.0.1\tsession=a\x01tresp=x\x01n\x010\tresp=AGFsaWNlAHNlY3JldA==")
}

// What is not a Dovecot, or breaks in the middle, is never a refusal.
func TestGarbage(t *testing.T) {
	answers := func(text string) func(string) string {
		return func(line string) string { return strings.ReplaceAll(text, "ID", idOf(line)) }
	}
	ok := answers("OK\tID\tuser=alice\n")
	for name, path := range map[string]string{
		"nothing":        fake(t, "", ok),
		"another one":    fake(t, "220 mail.example.org ESMTP\r\n", ok),
		"version 2":      fake(t, "VERSION\t2\t0\nDONE\n", ok),
		"no version":     fake(t, "DONE\n", ok),
		"no mechanism":   fake(t, "VERSION\t1\t2\nDONE\n", ok),
		"a long line":    fake(t, strings.Repeat("x", 1<<20), ok),
		"many lines":     fake(t, "VERSION\t1\t2\n"+strings.Repeat("MECH\tX\n", 5000), ok),
		"a long answer":  fake(t, greeting, answers(strings.Repeat("x", 1<<20))),
		"another's id":   fake(t, greeting, answers("OK\t99\tuser=alice\n")),
		"no id":          fake(t, greeting, answers("OK\tuser=alice\n")),
		"a negative id":  fake(t, greeting, answers("OK\t-ID\tuser=alice\n")),
		"a large id":     fake(t, greeting, answers("OK\t4294967297\tuser=alice\n")),
		"half an answer": fake(t, greeting, answers("OK\tID\tuser=alice")),
		"silence":        fake(t, greeting, answers("")),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := must(t, &Dovecot{Address: path, Timeout: conf.Duration(50 * time.Millisecond)})
			if id, err := d.VerifyPassword(ctx, peer, "alice", "secret"); err == nil || refusedBy(err) {
				t.Errorf("%+v, %v", id, err)
			}
		})
	}
}

// A connection on which nothing is heard is given up; one on which others are answered is not.
func TestSilence(t *testing.T) {
	t.Parallel()
	d := must(t, &Dovecot{Timeout: conf.Duration(5 * time.Second), Address: fake(t, greeting, func(string) string { return "" })})
	w, err := d.clients.connected(ctx)
	if err != nil {
		t.Fatal(err)
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := d.VerifyPassword(gone, peer, "alice", "secret"); err == nil || refusedBy(err) || w.isBroken() {
		t.Errorf("a client that went away: %v, broken: %v", err, w.isBroken())
	}
	if _, err := d.VerifyPassword(ctx, peer, "alice", "secret"); err == nil || refusedBy(err) || !w.isBroken() {
		t.Errorf("silence: %v, broken: %v", err, w.isBroken())
	}
	d = must(t, &Dovecot{Timeout: conf.Duration(5 * time.Second), Address: fake(t, greeting, func(string) string { return "OK\t77\tuser=bob\n" })})
	if w, err = d.clients.connected(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := d.VerifyPassword(ctx, peer, "alice", "secret"); err == nil || refusedBy(err) || w.isBroken() {
		t.Errorf("one that was not answered: %v, broken: %v", err, w.isBroken())
	}
}

// Somebody who has no time left, or hardly any, does not end the connection for the others.
func TestTimeIsOver(t *testing.T) {
	d := must(t, &Dovecot{Timeout: conf.Duration(time.Hour), Address: fake(t, greeting, func(string) string { return "" })})
	w, err := d.clients.connected(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, left := range []time.Duration{-time.Second, 10 * time.Millisecond} {
		late, cancel := context.WithTimeout(ctx, left)
		if _, err := w.begin().ask(late, "AUTH", ""); !errors.Is(err, context.DeadlineExceeded) || w.isBroken() {
			t.Errorf("%v left: %v, broken: %v", left, err, w.isBroken())
		}
		cancel()
	}
}

// A connection that breaks while a password is asked about costs no error, if the next one serves.
func TestAskedAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for i := 0; ; i++ {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(nc, greeting)
			r := bufio.NewScanner(nc)
			for range 3 {
				r.Scan()
			}
			if i > 0 {
				fmt.Fprintf(nc, "OK\t%s\tuser=alice\n", idOf(r.Text()))
			}
			if i != 1 {
				_ = nc.Close()
			}
		}
	}()
	d := must(t, &Dovecot{Address: path})
	if id, err := d.VerifyPassword(ctx, peer, "alice", "secret"); err != nil || id.User != "alice" {
		t.Errorf("%+v, %v", id, err)
	}
}

// A Dovecot that is not there is tried less and less often.
func TestBackoff(t *testing.T) {
	now := time.Unix(1, 0)
	l := newLink("unix", filepath.Join(t.TempDir(), "none"), clientProtocol, time.Second, func(*wire) {})
	l.now = func() time.Time { return now }
	var pauses []time.Duration
	for range 8 {
		if _, err := l.connected(ctx); err == nil {
			t.Fatal("connected")
		}
		pauses = append(pauses, l.again.Sub(now))
		before := l.again
		if _, err := l.connected(ctx); err == nil || l.again != before {
			t.Error("it was tried again too early:", err)
		}
		now = l.again
	}
	if !slices.IsSorted(pauses) || pauses[0] != minBackoff || pauses[7] != maxBackoff {
		t.Error(pauses)
	}
	l.letGo()
}

// The socket of the userdb has another protocol, so one in place of the other is told.
func TestWrongSocket(t *testing.T) {
	d := must(t, &Dovecot{Address: fake(t, greeting, nil), UserDB: fake(t, greeting, nil)})
	if _, err := d.Lookup(ctx, peer, "alice"); err == nil || !strings.Contains(err.Error(), "auth-userdb") {
		t.Error(err)
	}
}

func FuzzParseReply(f *testing.F) {
	for _, line := range []string{
		"OK\t1\tuser=alice\t\toriginal_user=x", "FAIL\t4294967295\tuser=a\x01tb\ttemp", "CONT\t2\tbiws", "CONT\t2\t", "CONT\t2", "USER\t1\talice\tuid=1",
		"PASS\t1\tnologin", "NOTFOUND\t1", "MECH\tPLAIN", "OK", "OK\t", "\x01", "OK\t1\tx\x01", "OK\t+1", "OK\t 1", "",
	} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		if r, ok := parseReply(line); ok {
			if !strings.HasPrefix(line, r.command+"\t") {
				t.Errorf("%q: %+v", line, r)
			}
			_ = r.fields.first()
			r.fields.get("user")
		}
		safe := escape(line)
		if strings.ContainsAny(safe, "\t\r\n\x00") || unescape(safe) != line {
			t.Errorf("%q: %q, %q", line, safe, unescape(safe))
		}
	})
}

// passwordOf is the password in an AUTH line with a PLAIN response.
func passwordOf(line string) string {
	_, resp, _ := strings.Cut(line, "resp=")
	b, _ := base64.StdEncoding.DecodeString(resp)
	words := strings.Split(string(b), "\x00")
	return words[len(words)-1]
}

// Dovecot is asked about the password as it was typed and about what SASLprep makes of it, in the time
// of one refusal.
func TestPasswordForms(t *testing.T) {
	const typed, prepared = "m²pass", "m2pass"
	for stored, want := range map[string]bool{typed: true, prepared: true, "other": false} {
		var asked, plainly atomic.Int32 // another form may be asked about, and that be cancelled, when the answer is there
		d := must(t, &Dovecot{Address: fake(t, greeting, func(line string) string {
			asked.Add(1)
			if passwordOf(line) == "plain" {
				plainly.Add(1)
			}
			if passwordOf(line) == stored {
				return "OK\t" + idOf(line) + "\tuser=alice\n"
			}
			return "FAIL\t" + idOf(line) + "\n"
		})})
		_, err := d.VerifyPassword(t.Context(), caddymsa.Peer{}, "alice", typed)
		if want != (err == nil) || !want && (!errors.Is(err, caddymsa.ErrCredentials) || asked.Load() != 2) {
			t.Errorf("stored %q: %v, asked %d times", stored, err, asked.Load())
		}
		if _, err := d.VerifyPassword(t.Context(), caddymsa.Peer{}, "alice", "plain"); err == nil || plainly.Load() != 1 {
			t.Errorf("a plain password: %v, asked %d times", err, plainly.Load())
		}
	}
}

// A password that was right from one address is asked about from another: Dovecot may have allow_nets.
func TestCacheByAddress(t *testing.T) {
	d := must(t, &Dovecot{Cache: conf.Duration(time.Hour), Address: fake(t, greeting, func(line string) string {
		if strings.Contains(line, "\trip=192.0.2.1\t") {
			return "OK\t" + idOf(line) + "\tuser=alice\n"
		}
		return "FAIL\t" + idOf(line) + "\tcode=authz_fail\n"
	})})
	for range 2 {
		for ip, want := range map[string]bool{"192.0.2.1": true, "::ffff:192.0.2.1": true, "192.0.2.2": false} {
			if _, err := d.VerifyPassword(t.Context(), caddymsa.Peer{IP: netip.MustParseAddr(ip)}, "alice", "secret"); want != (err == nil) {
				t.Errorf("from %s: %v", ip, err)
			}
		}
	}
}
