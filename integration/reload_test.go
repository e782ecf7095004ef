package integration

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// reloadLimit is what no reload takes, however busy the machine is, unless it waits for somebody: one that does
// waits for the grace period of those tests, see patient.
const reloadLimit = time.Minute

// patient is a configuration with a grace period that shows who waits for it.
func patient(caddyfile string) string {
	return strings.ReplaceAll(caddyfile, "grace_period 5s", "grace_period 3m")
}

// median of durations, which a pause of the machine does not change.
func median(all []time.Duration) time.Duration {
	return slices.Sorted(slices.Values(all))[len(all)/2]
}

// A session is never dropped by a reload, whatever state it is in, and no client can
// hold a reload up (docs/dev/architecture.md, decision 2).
func TestReloads(t *testing.T) {
	t.Parallel()
	reloads := often(50, 10)
	s := newServer(t)
	s.write("odd.passwd", "alice@example.org:{PLAIN}secret\nodd@example.org:{PLAIN}secret\n")
	s.write("even.passwd", "alice@example.org:{PLAIN}secret\neven@example.org:{PLAIN}secret\n")
	config := func(parity, policy string) string {
		return patient(s.caddyfile(layout{
			auth: "auth {\n file $DIR/" + parity + ".passwd\n throttle off\n}",                                                                                 // inForce tries wrong users
			msa:  "policy sender_identity " + policy + "\n limits {\n connections_per_ip 2000\n}\n timeouts {\n handshake 1m\n command 1h\n before_auth 1h\n}", // as long as all reloads take, on a busy machine
		}))
	}
	odd, even := config("odd", ""), config("even", "off")
	s.write("Caddyfile", odd)
	s.run()
	trust := s.tlsConfig()

	storm := beginStorm(t, s, trust)
	reload := func(n int) time.Duration {
		t.Helper()
		began := time.Now()
		if status, answer := s.load([]string{even, odd}[n%2]); status != http.StatusOK {
			t.Fatalf("reload %d: %d %s", n, status, answer)
		}
		return time.Since(began)
	}
	var without, with []time.Duration // of sessions that stay open
	for n := range 10 {
		without = append(without, reload(n))
	}

	body := beginBody(t, s, trust, reloads)
	var stuck []*talker
	for range 100 {
		c, err := stuckInAuth(s, trust)
		if err != nil {
			t.Fatal(err)
		}
		defer c.close()
		stuck = append(stuck, c)
	}
	var want []string
	for n := range reloads {
		var open []halfway
		for _, state := range astride {
			id := fmt.Sprintf("%s-%d", state.name, n)
			rest, err := state.begin(s, trust, id)
			if err != nil {
				t.Fatalf("before reload %d: %s: %v", n, state.name, err)
			}
			open = append(open, halfway{state.name, rest})
			want = append(want, id)
		}
		with = append(with, reload(n))
		body.more()
		for _, h := range open {
			if err := h.rest(); err != nil {
				t.Errorf("after reload %d: %s: %v", n, h.state, err)
			}
		}
		inForce(t, s, trust, n%2 == 1)
	}
	storm.end()
	body.end()
	for _, c := range stuck {
		err := all(
			func() error { return c.do("334", base64.StdEncoding.EncodeToString([]byte("alice@example.org"))) },
			func() error { return c.do("235", base64.StdEncoding.EncodeToString([]byte("secret"))) },
		)
		if err != nil {
			t.Errorf("stuck in AUTH: %v", err)
		}
	}
	usual, longest := median(with), slices.Max(with)
	t.Logf("%d reloads under %d connects took %s (median), %s at most; %s without open sessions", reloads, storm.sessions.Load(),
		usual.Round(time.Millisecond), longest.Round(time.Millisecond), median(without).Round(time.Millisecond))
	if longest > reloadLimit || usual > 5*median(without)+time.Second {
		t.Error("reloads wait for sessions")
	}
	have := make(map[string]bool)
	for _, message := range s.mail("bob@example.net", len(want)+int(storm.messages.Load())) {
		have[subject(message)] = true
	}
	for _, id := range want {
		if !have[id] {
			t.Errorf("%s was not delivered", id)
		}
	}
	for line := range strings.Lines(s.log.String()) {
		if strings.Contains(line, `"level":"error"`) || strings.Contains(line, "panic") || strings.Contains(line, "DATA RACE") {
			t.Errorf("the log says %s", line)
		}
	}
}

// halfway is a session that waits in some state for the rest of its client's part.
type halfway struct {
	state string
	rest  func() error
}

// stuckInAuth returns a client that has said its mechanism and says no more.
func stuckInAuth(s *server, trust *tls.Config) (*talker, error) {
	c, err := connect("tcp", s.starttls, nil)
	if err != nil {
		return nil, err
	}
	return c, all(
		func() error { return c.starttls(trust, nil) },
		func() error { return c.do("334", "AUTH LOGIN") },
	)
}

// inForce checks that the users and the policies are those of the configuration
// that was loaded last: the odd one with sender_identity, or the even one without.
func inForce(t *testing.T, s *server, trust *tls.Config, odd bool) {
	t.Helper()
	known, unknown, mail := "even@example.org", "odd@example.org", "250"
	if odd {
		known, unknown, mail = "odd@example.org", "even@example.org", "550 5.7.1"
	}
	c, err := connect("tcp", s.implicit, trust)
	if err != nil {
		t.Error(err)
		return
	}
	defer c.close()
	err = all(
		func() error { return c.do("250", "EHLO client.example.org") },
		func() error {
			if err := c.login(unknown, "secret"); err == nil || !strings.Contains(err.Error(), "535 5.7.8") {
				return fmt.Errorf("%s logs in: %v", unknown, err)
			}
			return nil
		},
		func() error { return c.login(known, "secret") },
		func() error { return c.do(mail, "MAIL FROM:<stranger@example.com>") },
		func() error { return c.do("221", "QUIT") },
	)
	if err != nil {
		t.Error(err)
	}
}

func subject(message []byte) string {
	_, rest, _ := bytes.Cut(message, []byte("\r\nSubject: "))
	line, _, _ := bytes.Cut(rest, []byte("\r\n"))
	return string(line)
}

// storm is clients that come and go as fast as they can.
type storm struct {
	stop               chan struct{}
	clients            sync.WaitGroup
	sessions, messages atomic.Int64
}

func beginStorm(t *testing.T, s *server, trust *tls.Config) *storm {
	st := &storm{stop: make(chan struct{})}
	for n := range 4 {
		st.clients.Go(func() {
			for i := n; ; i++ {
				select {
				case <-st.stop:
					return
				default:
				}
				if err := st.session(s, trust, i); err != nil {
					t.Errorf("storm: %v", err)
				}
				st.sessions.Add(1)
			}
		})
	}
	return st
}

// session is by turns one on either port; each tenth brings a message.
func (st *storm) session(s *server, trust *tls.Config, i int) error {
	network, implicit := s.starttls, (*tls.Config)(nil)
	if i%2 == 1 {
		network, implicit = s.implicit, trust
	}
	c, err := connect("tcp", network, implicit)
	if err != nil {
		return err
	}
	defer c.close()
	if err := c.do("250", "EHLO storm.example.org"); err != nil {
		return err
	}
	if implicit == nil {
		if err := c.starttls(trust, nil); err != nil {
			return err
		}
	}
	if err := c.login("alice@example.org", "secret"); err != nil {
		return err
	}
	if i%10 == 0 {
		if _, err := c.submit("alice@example.org", "bob@example.net", letter("storm")); err != nil {
			return err
		}
		st.messages.Add(1)
	}
	return c.do("221", "QUIT")
}

func (st *storm) end() {
	close(st.stop)
	st.clients.Wait()
}

// slowBody is a message of the greatest size that comes a piece at a time.
type slowBody struct {
	t      *testing.T
	s      *server
	c      *talker
	octets []byte
	sent   int
	piece  int
}

func beginBody(t *testing.T, s *server, trust *tls.Config, pieces int) *slowBody {
	t.Helper()
	const size = 52428800 // the limit, which passes
	octets := make([]byte, 0, size)
	octets = append(octets, "From: alice@example.org\r\nSubject: slow\r\n\r\n"...)
	for n := 0; len(octets) < size-2000; n++ {
		octets = fmt.Appendf(octets, "%010d%s\r\n", n, strings.Repeat("x", 900))
	}
	octets = append(octets, bytes.Repeat([]byte("y"), size-2-len(octets))...)
	octets = append(octets, "\r\n"...)
	c, err := s.alice(trust)
	if err == nil {
		t.Cleanup(c.close)
		err = all(
			func() error { return c.envelope("alice@example.org", "slow@example.net") },
			func() error { return c.do("354", "DATA") },
		)
	}
	if err != nil {
		t.Fatal(err)
	}
	return &slowBody{t: t, s: s, c: c, octets: octets, piece: size / (pieces + 1)}
}

// more sends the next piece, which ends anywhere in a line.
func (b *slowBody) more() {
	b.t.Helper()
	if err := b.c.send(string(b.octets[b.sent : b.sent+b.piece])); err != nil {
		b.t.Fatalf("the slow body: %v", err)
	}
	b.sent += b.piece
}

func (b *slowBody) end() {
	b.t.Helper()
	err := b.c.send(string(b.octets[b.sent:]) + ".\r\n")
	if err == nil {
		_, err = b.c.queued()
	}
	if err != nil {
		b.t.Errorf("the slow body: %v", err)
		return
	}
	got := untraced(b.t, b.s.mail("slow@example.net", 1)[0])
	if sha256.Sum256(got) != sha256.Sum256(b.octets) {
		b.t.Errorf("of the slow body's %d octets, %d others were delivered", len(b.octets), len(got))
	}
}

// A reload in which another app fails leaves the old users and policies in force, and
// drops nobody.
func TestFailedReload(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.write("old.passwd", "alice@example.org:{PLAIN}secret\nodd@example.org:{PLAIN}secret\n")
	s.write("new.passwd", "alice@example.org:{PLAIN}other\neven@example.org:{PLAIN}secret\n")
	s.write("Caddyfile", s.caddyfile(layout{auth: "auth {\n file $DIR/old.passwd\n}"}))
	s.run()
	trust := s.tlsConfig()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	broken := s.caddyfile(layout{auth: "auth {\n file $DIR/new.passwd\n}", msa: "policy sender_identity off"}) +
		"\nhttp://" + taken.Addr().String() + " {\n respond hello\n}\n"
	// The order in which Caddy starts apps is random: this one may have been in charge
	// for a moment, or not.
	for n := range 8 {
		var open []halfway
		for _, state := range astride {
			rest, err := state.begin(s, trust, fmt.Sprintf("%s-%d", state.name, n))
			if err != nil {
				t.Fatal(state.name, err)
			}
			open = append(open, halfway{state.name, rest})
		}
		if status, answer := s.load(broken); status != http.StatusBadRequest || !strings.Contains(answer, "address already in use") {
			t.Fatalf("%d %s", status, answer)
		}
		for _, h := range open {
			if err := h.rest(); err != nil {
				t.Errorf("%s: %v", h.state, err)
			}
		}
		inForce(t, s, trust, true)
	}
	s.mail("bob@example.net", 8*len(astride))
}

// A message whose transaction began before a reload is judged at its end by the
// configuration in charge then.
func TestReloadWithinTransaction(t *testing.T) {
	t.Parallel()
	lax := layout{msa: "policy sender_identity off"}
	s := start(t, lax)
	c, err := s.alice(s.tlsConfig())
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	if err := c.envelope("stranger@example.com", "bob@example.net"); err != nil {
		t.Fatal(err)
	}
	if err := c.do("354", "DATA"); err != nil {
		t.Fatal(err)
	}
	if status, answer := s.load(s.caddyfile(layout{})); status != http.StatusOK {
		t.Fatal(status, answer)
	}
	if err := c.do("550 5.7.1", letter("judged again")+"."); err != nil {
		t.Error(err)
	}
	if _, err := c.submit("alice@example.org", "bob@example.net", letter("afterwards")); err != nil {
		t.Error(err)
	}
	if got := subject(s.mail("bob@example.net", 1)[0]); got != "afterwards" {
		t.Errorf("%q was delivered", got)
	}
}

// An identity is as good as its backend's latest word: a user who is gone, disabled or
// has another password gets 421 at the next MAIL (docs/dev/architecture.md, decision 3).
func TestUsersFileChanges(t *testing.T) {
	t.Parallel()
	const stays = "stays@example.org:{PLAIN}secret\n"
	s := start(t, layout{users: stays + "gone@example.org:{PLAIN}secret\ndisabled@example.org:{PLAIN}secret\nchanged@example.org:{PLAIN}secret\n"})
	trust := s.tlsConfig()
	session := func(user string) *talker {
		t.Helper()
		c, err := s.as(trust, user)
		if err != nil {
			t.Fatal(user, err)
		}
		t.Cleanup(c.close)
		return c
	}
	open := make(map[string]*talker)
	for _, user := range []string{"stays", "gone", "disabled", "changed"} {
		open[user] = session(user + "@example.org")
	}
	rewrite := func(text string) {
		t.Helper()
		s.write("new.passwd", text)
		if err := os.Rename(s.dir+"/new.passwd", s.dir+"/users.passwd"); err != nil {
			t.Fatal(err)
		}
	}
	said := func(what string, times int) {
		t.Helper()
		s.await(what, func() bool { return strings.Count(s.log.String(), what) >= times })
	}

	rewrite(stays + "disabled@example.org:{PLAIN}secret::::::nologin\nchanged@example.org:{PLAIN}other\nnew@example.org:{PLAIN}secret\n")
	said("users file was read again", 1)
	for user, c := range open {
		want := "421 4.7.0"
		if user == "stays" {
			want = "250 2.1.0"
		}
		if err := c.do(want, "MAIL FROM:<"+user+"@example.org>"); err != nil {
			t.Errorf("%s: %v", user, err)
		}
		if user == "stays" {
			continue
		}
		if more, err := c.reply(); !errors.Is(err, io.EOF) {
			t.Errorf("%s: the connection stays open: %q %v", user, more, err)
		}
	}
	session("new@example.org")

	rewrite(stays + "new@example.org:{NOSUCHSCHEME}secret\n")
	s.logged(`"level":"error"`, "the old users stay", "line 2")
	session("new@example.org")
	if err := open["stays"].do("503", "MAIL FROM:<stays@example.org>"); err != nil {
		t.Error(err)
	}

	rewrite(stays)
	said("users file was read again", 2)
	if err := open["stays"].do("250", "RSET"); err != nil {
		t.Error(err)
	}
	if err := open["stays"].do("250", "MAIL FROM:<stays@example.org>"); err != nil {
		t.Error(err)
	}
}
