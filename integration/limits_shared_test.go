package integration

import (
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/installed"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/postgres"
)

// sharedLimits is a node whose limits count where the others' do.
func sharedLimits(where string) layout {
	return layout{
		auth: fmt.Sprintf("auth {\n\t\tfile $DIR/users.passwd\n\t\tthrottle {\n\t\t\tfailures 4\n\t\t\tdelay 1ms\n\t\t\t%s\n\t\t}\n\t}", where),
		msa: fmt.Sprintf(`
	@alice user alice@example.org
	policy @alice rate_limit {
		messages 5
		window   1h
		%[1]s
	}
	@bob user bob@example.net
	policy @bob recipients {
		max_per_day 5
		%[1]s
	}`, where),
	}
}

// loginAs is a session of a user with any password.
func (s *server) loginAs(user, password string) *talker {
	s.t.Helper()
	c, err := connect("tcp", s.implicit, s.tlsConfig())
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(c.close)
	if err := all(func() error { return c.do("250", "EHLO client.example") }, func() error { return c.login(user, password) }); err != nil {
		s.t.Fatal(err)
	}
	return c
}

// refusal sends MAIL and RCPT and returns the first reply that is not 250.
func (s *server) refusal(user, password string) string {
	s.t.Helper()
	c := s.loginAs(user, password)
	defer c.close()
	for _, line := range []string{"MAIL FROM:<" + user + ">", "RCPT TO:<carol@example.com>"} {
		if err := c.send(line + "\r\n"); err != nil {
			s.t.Fatal(err)
		}
		reply, err := c.reply()
		if err != nil {
			s.t.Fatal(err)
		}
		if !strings.HasPrefix(reply, "250") {
			return reply
		}
	}
	return ""
}

// limitsHold has two nodes take together what a limit allows. stop hangs the store.
func limitsHold(t *testing.T, one, two *server, stop, resume func()) {
	t.Helper()
	nodes := []*server{one, two}
	for i := range 5 {
		for user, password := range map[string]string{"alice@example.org": "secret", "bob@example.net": "hunter2"} {
			if _, err := nodes[i%2].loginAs(user, password).submit(user, "carol@example.com", strings.Replace(letter("limit"), "alice@example.org", user, 1)); err != nil {
				t.Fatalf("message %d of %s: %v", i, user, err)
			}
		}
	}
	for _, s := range nodes {
		if reply := s.refusal("alice@example.org", "secret"); !strings.HasSuffix(reply, "(rate_limit: messages)") {
			t.Errorf("alice's sixth message: %q", reply)
		}
		if reply := s.refusal("bob@example.net", "hunter2"); !strings.HasSuffix(reply, "(recipients: max_per_day)") {
			t.Errorf("bob's sixth recipient: %q", reply)
		}
	}
	for _, s := range nodes { // and each says so, of what both have counted
		for _, user := range []string{"alice@example.org", "bob@example.net"} {
			if status, body := s.adminRequest(http.MethodGet, "/msa/quota/"+user, ""); status != http.StatusOK || !strings.Contains(body, `"allowed":5,"left":0`) {
				t.Errorf("quota of %s: %d %s", user, status, body)
			}
		}
	}
	// Two guesses on each node are four; then the right password is of no use on any of them.
	for i := range 4 {
		if code := nodes[i%2].authAs("bob@example.net", "guess"); code != "535" {
			t.Errorf("guess %d: %s", i, code)
		}
	}
	for _, s := range nodes {
		if code := s.authAs("bob@example.net", "hunter2"); code != "421" {
			t.Errorf("the right password after four guesses: %s", code)
		}
	}
	// Whoever is let in again on one node is on the other.
	if status, body := one.adminRequest(http.MethodPost, "/msa/guess-actions/lift", `{"network": "127.0.0.1/32", "reason": "it was me"}`); status != http.StatusOK || !strings.Contains(body, `"lifted":1`) {
		t.Errorf("%d %s", status, body)
	}
	for _, s := range nodes {
		s.await("the lifting of the block", func() bool { return s.authAs("bob@example.net", "hunter2") == "235" })
	}
	// The store hangs: each node goes on alone, soon.
	stop()
	began := time.Now()
	for range 3 {
		if code := one.authAs("alice@example.org", "secret"); code != "235" {
			t.Errorf("while the store hangs: %s", code)
		}
		if reply := one.refusal("alice@example.org", "secret"); reply != "" {
			t.Errorf("this node's own bucket is full, and the client hears %q", reply)
		}
	}
	if took := time.Since(began); took > patience {
		t.Errorf("six logins took %v", took)
	}
	one.await("the log", func() bool { return strings.Contains(one.log.String(), "does not answer, where nodes share counts") })
	resume()
	one.await("the store to be asked again", func() bool {
		return strings.HasPrefix(one.refusal("alice@example.org", "secret"), "450 4.7.1")
	})
}

// rate_limit, max_per_day and the throttle count for all nodes together where their spool is one.
func TestLimitsInSpool(t *testing.T) {
	t.Parallel()
	srv := postgres.Start(t)
	var nodes []*server
	config := func(i int, where string) string {
		file, text := "spool file "+nodes[i].dir+"/spool", nodes[i].caddyfile(sharedLimits(where))
		if !strings.Contains(text, file) {
			t.Fatal("the configuration has no spool to replace")
		}
		return strings.Replace(text, file, fmt.Sprintf("spool postgres %s {\n\tnode n%d\n\ttimeout %s\n}", srv.DSN(), i, clusterTimeout), 1)
	}
	for i := range 2 {
		s := newServer(t)
		s.writeUsers("")
		nodes = append(nodes, s)
		s.write("Caddyfile", config(i, "spool {\n\t\t\ttimeout 10s\n\t\t}"))
		s.run()
	}
	limitsHold(t, nodes[0], nodes[1], func() {
		nodes[0].mustLoad(config(0, "spool")) // with the default timeout
		srv.Signal(syscall.SIGSTOP)
	}, func() { srv.Signal(syscall.SIGCONT) })
}

// And where they share a Redis.
func TestLimitsInRedis(t *testing.T) {
	t.Parallel()
	socket, redis := startRedis(t, t.TempDir())
	l := sharedLimits("redis " + socket + " {\n\t\t\ttimeout 10s\n\t\t}")
	one, two := start(t, l), start(t, l)
	limitsHold(t, one, two, func() {
		one.mustLoad(one.caddyfile(sharedLimits("redis " + socket))) // with the default timeout
		if err := redis.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		installed.AwaitStopped(t, redis.Process.Pid)
	}, func() { _ = redis.Process.Signal(syscall.SIGCONT) })
}
