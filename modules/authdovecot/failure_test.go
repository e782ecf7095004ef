//go:build linux

package authdovecot

import (
	"context"
	"errors"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
)

// brief is a timeout for a Dovecot that says nothing; one that answers is asked until it does.
const brief = 1500 * time.Millisecond

// cannotTell wants an error that is not a refusal, in time.
func cannotTell(t *testing.T, what string, ask func() error) {
	t.Helper()
	begin := time.Now()
	err := ask()
	if err == nil || refusedBy(err) {
		t.Errorf("%s: %v, want an error that is not a refusal", what, err)
	}
	if took := time.Since(begin); took > 2*brief+30*time.Second {
		t.Errorf("%s: an answer after %s", what, took)
	}
}

// ways to ask, all of them.
func ways(t *testing.T, d *Dovecot) map[string]func() error {
	all := map[string]func() error{
		"password": func() error {
			_, err := d.VerifyPassword(ctx, peer, "alice@example.org", "secret")
			return err
		},
		"lookup": func() error {
			_, err := d.Lookup(ctx, peer, "alice@example.org")
			return err
		},
	}
	for _, mechanism := range handedOn {
		all[mechanism] = func() error {
			return drive(d.ProxyExchange(peer, mechanism), clientOf(t, mechanism, "alice@example.org", "secret"))
		}
	}
	return all
}

// an auth process that hangs is not a refusal, and is asked again when it goes on.
func TestStopped(t *testing.T) {
	t.Parallel()
	s := startDovecot(t)
	d := must(t, &Dovecot{Address: s.client, UserDB: s.userdb, Mechanisms: slices.Clone(handedOn), Timeout: conf.Duration(3 * brief)})
	all := ways(t, d)
	for name, ask := range all {
		await(t, name, func() bool { return ask() == nil })
	}
	open := d.ProxyExchange(peer, sasl.SCRAMSHA256)
	await(t, "an open exchange", func() bool {
		_, _, err := open.Next(ctx, nil)
		if err != nil {
			_ = open.Close()
			open = d.ProxyExchange(peer, sasl.SCRAMSHA256)
		}
		return err == nil
	})
	defer open.Close()
	s.signal(syscall.SIGSTOP)
	cannotTell(t, "an open exchange", func() error {
		_, _, err := open.Next(ctx, []byte("n,,n=alice@example.org,r=abcdefgh"))
		return err
	})
	done := make(chan struct{})
	for name, ask := range all {
		go func() {
			cannotTell(t, name, ask)
			done <- struct{}{}
		}()
	}
	for range all {
		<-done
	}
	s.signal(syscall.SIGCONT)
	for name, ask := range all {
		await(t, name+" again", func() bool { return ask() == nil })
	}
}

// Dovecot starts its auth process again when that was killed: whoever asks next hears nothing of it.
func TestAuthProcessKilled(t *testing.T) {
	t.Parallel()
	s := startDovecot(t)
	d := must(t, &Dovecot{Address: s.client, UserDB: s.userdb, Mechanisms: slices.Clone(handedOn), Timeout: conf.Duration(time.Minute)})
	all := ways(t, d)
	for name, ask := range all {
		if err := ask(); err != nil {
			t.Fatal(name, err)
		}
	}
	open := d.ProxyExchange(peer, sasl.SCRAMSHA256)
	defer open.Close()
	if _, _, err := open.Next(ctx, nil); err != nil {
		t.Fatal(err)
	}
	s.signal(syscall.SIGKILL)
	cannotTell(t, "an open exchange", func() error {
		_, _, err := open.Next(ctx, []byte("n,,n=alice@example.org,r=abcdefgh"))
		return err
	})
	for name, ask := range all {
		if err := ask(); err != nil {
			t.Error(name, "afterwards:", err)
		}
	}
}

// a Dovecot that is gone is not a refusal, and is asked again when it is back.
func TestKilled(t *testing.T) {
	t.Parallel()
	s := startDovecot(t)
	d := must(t, &Dovecot{Address: s.client, UserDB: s.userdb, Mechanisms: slices.Clone(handedOn), Timeout: conf.Duration(brief)})
	all := ways(t, d)
	s.kill()
	for range 2 { // again, right after a failure
		for name, ask := range all {
			cannotTell(t, name, ask)
		}
	}
	s.run()
	for name, ask := range all {
		await(t, name+" again", func() bool {
			err := ask()
			if refusedBy(err) {
				t.Fatal("a refusal:", err)
			}
			return err == nil
		})
	}
}

// An exchange outlives its backend; the connection goes with the last one.
func TestExchangeAfterCleanup(t *testing.T) {
	t.Parallel()
	s := startDovecot(t)
	d := &Dovecot{Address: s.client, UserDB: s.userdb, Mechanisms: slices.Clone(handedOn)}
	must(t, d)
	x := d.ProxyExchange(peer, sasl.SCRAMSHA256)
	client := clientOf(t, sasl.SCRAMSHA256, "alice@example.org", "secret")
	_, response, _ := client.Start()
	challenge, _, err := x.Next(ctx, response)
	if err != nil {
		t.Fatal(err)
	}
	d.clients.hold() // for must's own Cleanup
	d.master.hold()
	if err := d.Cleanup(); err != nil {
		t.Fatal(err)
	}
	d.letGoOfLinks()
	w := d.clients.wire
	for done := false; !done; {
		if response, err = client.Next(challenge); err != nil {
			t.Fatal(err)
		}
		if challenge, done, err = x.Next(ctx, response); err != nil {
			t.Fatal(err)
		}
	}
	if x.Identity().User != "alice@example.org" || w.isBroken() {
		t.Errorf("%+v, broken: %v", x.Identity(), w.isBroken())
	}
	_ = x.Close()
	_ = x.Close()
	if !w.isBroken() {
		t.Error("the connection is left open")
	}
	d.holdLinks() // for must's own Cleanup
	if _, err := d.VerifyPassword(ctx, peer, "alice@example.org", "secret"); err == nil || refusedBy(err) {
		t.Errorf("a closed backend: %v", err)
	}
}

// Who does not wait any more leaves nothing behind.
func TestAbandoned(t *testing.T) {
	t.Parallel()
	s := startDovecot(t)
	d := must(t, &Dovecot{Address: s.client, Mechanisms: slices.Clone(handedOn)})
	w, err := d.clients.connected(ctx)
	if err != nil {
		t.Fatal(err)
	}
	gone, cancel := context.WithCancel(ctx)
	s.signal(syscall.SIGSTOP) // Dovecot is asked, and says nothing meanwhile
	time.AfterFunc(10*time.Millisecond, cancel)
	if _, err := d.VerifyPassword(gone, peer, "alice@example.org", "wrong"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	s.signal(syscall.SIGCONT)
	for range 3 {
		x := d.ProxyExchange(peer, sasl.DigestMD5)
		if _, _, err := x.Next(ctx, nil); err != nil {
			t.Error(err)
		}
		_ = x.Close()
	}
	if again, err := d.clients.connected(ctx); err != nil || again != w || len(w.pending) > 0 {
		t.Errorf("%v, another connection: %v, %d pending", err, again != w, len(w.pending))
	}
}
