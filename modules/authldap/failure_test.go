package authldap

import (
	"context"
	"crypto/tls"
	"errors"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
)

// brief is a timeout for a server that says nothing; where one answers, it is asked until it does (answeredAgain).
const brief = conf.Duration(1500 * time.Millisecond)

// unanswered wants an error that is not a refusal, soon after the timeout.
func unanswered(t *testing.T, l *LDAP, what string) {
	t.Helper()
	begin := time.Now()
	_, err := l.VerifyPassword(ctx, peer, "alice@example.org", "secret")
	took := time.Since(begin)
	if err == nil || errors.Is(err, caddymsa.ErrCredentials) {
		t.Errorf("%s: %v, want an error that is not a refusal", what, err)
	}
	if took > time.Duration(brief)+30*time.Second {
		t.Errorf("%s: an answer after %s", what, took)
	}
	if l.Serves(caddymsa.CapLookup) {
		if _, err := l.Lookup(ctx, peer, "alice@example.org"); err == nil || errors.Is(err, caddymsa.ErrCredentials) {
			t.Errorf("%s: looking up: %v, want an error that is not a refusal", what, err)
		}
	}
}

func answered(t *testing.T, l *LDAP, what string) {
	t.Helper()
	if _, err := l.VerifyPassword(ctx, peer, "alice@example.org", "secret"); err != nil {
		t.Errorf("%s: %v", what, err)
	}
	if _, err := l.VerifyPassword(ctx, peer, "alice@example.org", "wrong"); !errors.Is(err, caddymsa.ErrCredentials) {
		t.Errorf("%s: a wrong password: %v", what, err)
	}
}

// answeredAgain is answered as soon as the server has come to it within the timeout, however brief; until then nobody is refused who
// has the right password, nor let in who has not.
func answeredAgain(t *testing.T, l *LDAP, what string) {
	t.Helper()
	for password, want := range map[string]error{"secret": nil, "wrong": caddymsa.ErrCredentials} {
		for end := time.Now().Add(2 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
			_, err := l.VerifyPassword(ctx, peer, "alice@example.org", password)
			if errors.Is(err, want) {
				break
			}
			if err == nil || errors.Is(err, caddymsa.ErrCredentials) || time.Now().After(end) {
				t.Errorf("%s: %s: %v", what, password, err)
				break
			}
		}
	}
}

// a directory that is killed or hangs is not a refusal, and is asked again when it is back.
func TestKilledAndStopped(t *testing.T) {
	t.Parallel()
	s := startSlapd(t)
	all := ways(s)
	for name, l := range all {
		if l.Cache != 0 || l.StartTLS {
			delete(all, name)
			continue
		}
		l.Timeout = brief
		must(t, l)
		answeredAgain(t, l, name)
	}
	each := func(f func(*testing.T, *LDAP, string), when string) {
		var wg sync.WaitGroup
		for name, l := range all {
			wg.Go(func() { f(t, l, name+", "+when) })
		}
		wg.Wait()
	}
	s.stop(t)
	each(unanswered, "stopped")
	s.signal(t, syscall.SIGCONT)
	each(answeredAgain, "after a stop")

	s.kill(t)
	each(unanswered, "killed")
	if !s.run(t) {
		t.Fatal("slapd does not start again")
	}
	each(answeredAgain, "after it was killed")
}

// Connections that have died while nobody used them cost no error.
func TestRestartBetween(t *testing.T) {
	s := startSlapd(t)
	l := must(t, &LDAP{Servers: []string{s.ldap}, Base: suffix})
	answered(t, l, "before")
	s.kill(t)
	if !s.run(t) {
		t.Fatal("slapd does not start again")
	}
	answered(t, l, "after")
}

// clock is set by hand.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func TestFailover(t *testing.T) {
	t.Parallel()
	a, b := startSlapd(t), startSlapd(t)
	a.set(t, "bob", "userPassword", "at a")
	b.set(t, "bob", "userPassword", "at b")
	l := must(t, &LDAP{Servers: []string{a.ldap, b.ldap}, Base: suffix, Timeout: conf.Duration(20 * time.Second)}) // the half of it is each one's
	now := &clock{now: time.Now()}
	for _, s := range l.dir.servers {
		s.now = now.Now
	}
	asks := func(where string) {
		t.Helper()
		if _, err := l.VerifyPassword(ctx, peer, "bob@example.org", "at "+where); err != nil {
			t.Errorf("server %s was not asked, or did not answer: %v", where, err)
		}
	}
	asks("a")
	a.stop(t)
	asks("b") // in the time that is left
	if !l.dir.servers[0].avoided() {
		t.Error("a server that hangs is not avoided")
	}
	a.signal(t, syscall.SIGCONT)
	asks("b")
	now.advance(avoidTime + time.Second)
	asks("a")
	a.kill(t)
	asks("b")
	b.kill(t)
	if _, err := l.VerifyPassword(ctx, peer, "bob@example.org", "at b"); err == nil || errors.Is(err, caddymsa.ErrCredentials) ||
		!strings.Contains(err.Error(), a.ldap) || !strings.Contains(err.Error(), b.ldap) {
		t.Error("both are down:", err)
	}
	if !a.run(t) {
		t.Fatal("slapd does not start again")
	}
	asks("a") // who is avoided is better than nobody
	if !b.run(t) {
		t.Fatal("slapd does not start again")
	}
	for _, s := range l.dir.servers {
		s.failed()
	}
	a.stop(t)
	asks("b") // and does not take all the time
}

// A client that is gone waits for no server, and says nothing about it.
func TestCancelled(t *testing.T) {
	s := startSlapd(t)
	l := must(t, &LDAP{Servers: []string{s.ldap}, Base: suffix, Timeout: conf.Duration(time.Hour)})
	answered(t, l, "before")
	s.stop(t)
	gone, cancel := context.WithCancel(ctx)
	done := make(chan error)
	go func() {
		_, err := l.VerifyPassword(gone, peer, "alice@example.org", "secret")
		done <- err
	}()
	cancel()
	if err := <-done; err == nil || errors.Is(err, caddymsa.ErrCredentials) {
		t.Error(err)
	}
	if l.dir.servers[0].avoided() {
		t.Error("the server is avoided because a client went away")
	}
	s.signal(t, syscall.SIGCONT)
	answered(t, l, "after")
}

// A service account that is refused does not mean that a user is refused.
func TestServiceAccountRefused(t *testing.T) {
	s := startSlapd(t)
	l := must(t, &LDAP{Servers: []string{s.ldap}, Base: suffix, BindDN: "uid=bob," + below, BindPassword: "hunter2"})
	answered(t, l, "before")
	s.set(t, "bob", "userPassword", "another")
	l.dir.servers[0].drop()
	unanswered(t, l, "with an old password of the service account")
	s.set(t, "bob", "userPassword", "hunter2")
	answered(t, l, "after")
}

// A server that lets nobody bind says nothing about users.
func TestNobodyMayBind(t *testing.T) {
	for _, setting := range []string{"disallow bind_simple", "security simple_bind=128", "restrict bind"} {
		s := startSlapd(t, setting)
		l, _ := provision(t, &LDAP{Servers: []string{s.ldap}, UserDN: "uid={local}," + below, Domains: []string{"example.org"}})
		for _, name := range []string{"alice@example.org", "nobody@example.org"} {
			_, err := l.VerifyPassword(ctx, peer, name, "secret")
			if err == nil || errors.Is(err, caddymsa.ErrCredentials) {
				t.Errorf("%s: %s: %v, want an error that is not a refusal", setting, name, err)
			}
		}
	}
}

// A user without a password is refused, whether the server has been seen refusing others or not.
func TestDoubt(t *testing.T) {
	s := startSlapd(t)
	l := must(t, &LDAP{Servers: []string{s.ldap}, UserDN: "uid={local}," + below, Domains: []string{"example.org"}})
	for range 2 {
		if _, err := l.VerifyPassword(ctx, peer, "nopassword@example.org", "secret"); !errors.Is(err, caddymsa.ErrCredentials) {
			t.Error(err)
		}
		answered(t, l, "another")
	}
}

// R-02 for what goes to the directory: certificates are verified, and nothing is sent before TLS.
func TestTLS(t *testing.T) {
	s := startSlapd(t)
	port := s.ldap[strings.LastIndexByte(s.ldap, ':'):]
	for what, l := range map[string]*LDAP{
		"a CA that nobody knows":               {Servers: []string{s.ldaps}, Base: suffix},
		"a CA that nobody knows, StartTLS":     {Servers: []string{s.ldap}, StartTLS: true, Base: suffix},
		"another name":                         {Servers: []string{s.ldaps}, Base: suffix, TLSClient: conf.TLSClient{CA: []string{s.ca}, ServerName: "other.example.org"}},
		"TLS where there is none":              {Servers: []string{"ldaps://127.0.0.1" + port}, Base: suffix, TLSClient: conf.TLSClient{CA: []string{s.ca}}, Timeout: brief},
		"clear text where TLS is spoken first": {Servers: []string{"ldap" + strings.TrimPrefix(s.ldaps, "ldaps")}, Base: suffix, Timeout: brief},
	} {
		must(t, l) // a directory that does not answer does not fail the load
		unanswered(t, l, what)
	}
	l := must(t, &LDAP{Servers: []string{s.ldaps}, Base: suffix, TLSClient: conf.TLSClient{CA: []string{s.ca}, ServerName: "ldap.example.org", ClientCertificate: s.dir + "/cert.pem", ClientKey: s.dir + "/key.pem"}})
	answered(t, l, "server_name, with a client certificate")
}

func TestSecurity(t *testing.T) {
	for url, want := range map[string]security{
		"ldap://127.0.0.1": plaintext, "ldap://localhost:1389": plaintext, "ldap://[::1]": plaintext, "ldapi:///run/x": plaintext,
		"ldap://ldap.example.org": startTLS, "ldap://192.0.2.1": startTLS, "ldap://localhost.example.org": startTLS, "ldaps://localhost": ldaps,
	} {
		s, err := newServer(url, &options{tls: new(tls.Config), connections: 1})
		if err != nil || s.security != want {
			t.Errorf("%s: %v, %v", url, s, err)
		}
	}
	if s, err := newServer("ldap://ldap.example.org", &options{tls: new(tls.Config), connections: 1, plaintext: true}); err != nil || s.security != plaintext || s.address != "ldap.example.org:389" {
		t.Error(s, err)
	}
}

// Settings that would do nothing, or fail each login.
func TestBadServers(t *testing.T) {
	for _, port := range []string{"0", "65536", "99999"} {
		if _, err := newServer("ldaps://ldap.example.org:"+port, &options{tls: new(tls.Config), connections: 1}); err == nil || !strings.Contains(err.Error(), "there is no port "+port) {
			t.Error(port, err)
		}
	}
	for server, want := range map[string]bool{"ldaps://a": false, "ldapi:///run/x": false, "ldap://a": true, "LDAP://a": true} {
		_, _, err := (&LDAP{Servers: []string{"ldaps://b", server}, StartTLS: true, Base: suffix}).resolve(nil, zap.NewNop())
		if bad := err != nil && strings.Contains(err.Error(), "start_tls is for ldap://"); bad == want {
			t.Error(server, err)
		}
	}
}

// Connections for searches are the service account's and remain so; neither kind is more than allowed.
func TestPool(t *testing.T) {
	s := startSlapd(t)
	l := must(t, &LDAP{Servers: []string{s.ldap}, Base: suffix, BindDN: finder, BindPassword: "find it", Concurrency: 2})
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() { answered(t, l, "all at once") })
	}
	wg.Wait()
	server := l.dir.servers[0]
	for p, idle := range server.idle {
		if len(idle) == 0 || len(idle) > 2 {
			t.Errorf("%d connections", len(idle))
		}
		for _, c := range idle {
			who, err := c.WhoAmI(nil)
			if err != nil {
				t.Fatal(err)
			}
			if purpose(p) == searches && who.AuthzID != "dn:"+finder {
				t.Errorf("a connection for searches is %s", who.AuthzID)
			}
		}
	}
	// What lay about for long is not used again.
	old := server.idle[searches][0]
	server.now = func() time.Time { return time.Now().Add(2 * idleTime) }
	answered(t, l, "later")
	if !old.IsClosing() {
		t.Error("a connection is used after a long time")
	}
	if err := l.Cleanup(); err != nil || len(server.idle[searches])+len(server.idle[logins]) > 0 {
		t.Error("connections are left:", err)
	}
}
