package authoauth

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/installed"
	"github.com/caddy-msa/caddy-msa/modules/authoauth/idp"
)

// TestMain is the provider too, in a process that can be stopped and killed.
func TestMain(m *testing.M) {
	if address := os.Getenv("TEST_IDP"); address != "" {
		panic(idp.Serve(address))
	}
	os.Exit(m.Run())
}

// provider is zitadel's OpenID provider at work.
type provider struct {
	t       *testing.T
	address string
	cmd     *exec.Cmd
}

func startProvider(t *testing.T) *provider {
	t.Helper()
	p := &provider{t: t, address: fmt.Sprintf("127.0.0.1:%d", installed.FreePort(t))}
	p.start()
	t.Cleanup(p.kill)
	return p
}

func (p *provider) start() {
	p.t.Helper()
	p.cmd = exec.Command(os.Args[0])
	p.cmd.Env = append(os.Environ(), "TEST_IDP="+p.address)
	p.cmd.Stderr = os.Stderr
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		nc, err := net.Dial("tcp", p.address)
		if err == nil {
			nc.Close()
			return
		}
		if time.Now().After(end) {
			p.t.Fatal(err)
		}
	}
}

func (p *provider) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

func (p *provider) signal(sig syscall.Signal) {
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.t.Fatal(err)
	}
	if sig == syscall.SIGSTOP {
		installed.AwaitStopped(p.t, p.cmd.Process.Pid)
	}
}

func (p *provider) token(opaque bool) string {
	p.t.Helper()
	token, err := idp.Token(p.address, opaque)
	if err != nil {
		p.t.Fatal(err)
	}
	return token
}

// The time-outs for a provider that answers, and for one that stopped: after the brief one is asked again until it is back.
const (
	unhurried = time.Minute
	brief     = 2 * time.Second
)

// backend is one that knows no keys yet.
func (p *provider) backend(introspection bool, timeout time.Duration) *OAuth {
	p.t.Helper()
	o := &OAuth{AttributeClaims: []string{"per_hour"}, Issuer: "http://" + p.address, Audience: idp.Audience, Scopes: []string{idp.Scope}, Timeout: conf.Duration(timeout), now: time.Now}
	if introspection {
		o.Introspection = &Introspection{ClientID: idp.Audience, ClientSecret: idp.Secret}
	}
	if _, err := provision(p.t, o); err != nil {
		p.t.Fatal(err)
	}
	return o
}

// eventually is for what depends on another process coming back.
func eventually(t *testing.T, what string, f func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if err = f(); err == nil {
			return
		}
	}
	t.Errorf("%s: %v", what, err)
}

// Tokens of a real provider, signed and opaque, also revoked.
func TestProvider(t *testing.T) {
	p := startProvider(t)
	signed, opaque := p.backend(false, unhurried), p.backend(true, unhurried)
	token := p.token(false)
	eventually(t, "a signed token", func() error {
		id, err := verify(signed, idp.Email, token)
		if err == nil && id.User != idp.Email {
			t.Error(id)
		}
		if err == nil {
			msatest.Tariff(t, id, "per_hour", 250)
		}
		return err
	})
	msatest.Tokens(t, signed, idp.Email, token)
	msatest.Tokens(t, opaque, idp.Email, p.token(true))
	if _, err := verify(signed, "", p.token(true)); !errors.Is(err, caddymsa.ErrCredentials) {
		t.Error("an opaque token where signed ones are wanted:", err)
	}
	token = p.token(true)
	eventually(t, "an opaque token", func() error {
		id, err := verify(opaque, "", token)
		if err == nil {
			msatest.Tariff(t, id, "per_hour", 250)
		}
		return err
	})
	if err := idp.Revoke(p.address, token); err != nil {
		t.Fatal(err)
	}
	if _, err := verify(opaque, "", token); !errors.Is(err, caddymsa.ErrCredentials) {
		t.Error("a revoked token:", err)
	}
}

// A provider that hangs or is gone: cannot tell, in time; and it goes on by itself.
func TestProviderStops(t *testing.T) {
	p := startProvider(t)
	known := p.backend(false, unhurried)
	token := p.token(false)
	eventually(t, "a token", func() error { _, err := verify(known, "", token); return err })

	down := func(how string) {
		t.Helper()
		var asked sync.WaitGroup // at once, since each waits in vain for as long as it may
		for _, introspection := range []bool{false, true} {
			o := p.backend(introspection, brief)
			asked.Go(func() {
				since := time.Now()
				if _, err := verify(o, "", token); err == nil || errors.Is(err, caddymsa.ErrCredentials) {
					t.Errorf("%s: %v", how, err)
				}
				if took := time.Since(since); took > 40*time.Second {
					t.Errorf("%s: it took %v, with a time-out of %v", how, took, brief)
				}
			})
			defer func() {
				token := ""
				eventually(t, "back after "+how, func() (err error) {
					if token, err = idp.Token(p.address, introspection); err == nil {
						_, err = verify(o, "", token)
					}
					return err
				})
			}()
		}
		asked.Wait()
		if _, err := verify(known, "", token); err != nil {
			t.Errorf("%s: keys that are known: %v", how, err)
		}
		if how == "SIGSTOP" {
			p.signal(syscall.SIGCONT)
		} else {
			p.start()
		}
	}
	p.signal(syscall.SIGSTOP)
	down("SIGSTOP")
	p.kill()
	down("SIGKILL")
}
