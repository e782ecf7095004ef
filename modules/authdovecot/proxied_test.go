//go:build linux

package authdovecot

import (
	"slices"
	"strings"
	"sync"
	"testing"

	gosasl "github.com/emersion/go-sasl"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
)

// drive has a client log in through the exchange, as a session does.
func drive(x caddymsa.ProxiedExchange, client gosasl.Client) error {
	defer x.Close()
	_, response, err := client.Start()
	for err == nil {
		challenge, done, failed := x.Next(ctx, response)
		if failed != nil || done {
			return failed
		}
		if response, err = client.Next(challenge); response == nil {
			response = []byte{}
		}
	}
	return err
}

func clientOf(t testing.TB, mechanism, user, password string) gosasl.Client {
	t.Helper()
	switch mechanism {
	case sasl.DigestMD5:
		local, _, _ := strings.Cut(user, "@") // Dovecot adds the realm
		return sasl.NewDigestMD5Client(local, password, "example.org", "msa.example.org")
	case sasl.SCRAMSHA256:
		client, err := sasl.NewSCRAMClient(user, password)
		if err != nil {
			t.Fatal(err)
		}
		return client
	}
	t.Fatal(mechanism)
	return nil
}

var handedOn = []string{sasl.SCRAMSHA256, sasl.DigestMD5}

// other mechanisms end to end, in the real Dovecot.
func TestProxied(t *testing.T) {
	t.Parallel()
	s := startDovecot(t)
	d := must(t, &Dovecot{Address: s.client, UserDB: s.userdb, Mechanisms: slices.Clone(handedOn)})
	var wg sync.WaitGroup // since Dovecot takes its time to refuse
	for _, mechanism := range handedOn {
		x := d.ProxyExchange(peer, mechanism)
		client := clientOf(t, mechanism, "alice@example.org", "secret")
		if err := drive(x, client); err != nil || x.Identity().User != "alice@example.org" {
			t.Errorf("%s: %+v, %v", mechanism, x.Identity(), err)
		}
		if p, ok := client.(interface{ ServerProved() bool }); !ok || !p.ServerProved() {
			t.Errorf("%s: the server did not prove itself", mechanism)
		}
		for user, password := range map[string]string{"alice@example.org": "wrong", "nobody@example.org": "secret", "former@example.org": "secret"} {
			client := clientOf(t, mechanism, user, password)
			wg.Go(func() {
				x := d.ProxyExchange(peer, mechanism)
				if err := drive(x, client); !refusedBy(err) || x.Identity().User != "" {
					t.Errorf("%s of %s: %v", mechanism, user, err)
				}
			})
		}
		for _, response := range []string{"", "\x00", "garbage", strings.Repeat("x", 1<<20)} {
			wg.Go(func() {
				x := d.ProxyExchange(peer, mechanism)
				defer x.Close()
				_, _, err := x.Next(ctx, nil)
				if err == nil {
					_, _, err = x.Next(ctx, []byte(response))
				}
				if !refusedBy(err) {
					t.Errorf("%s: %.10q: %v", mechanism, response, err)
				}
				if _, _, err := x.Next(ctx, nil); err == nil {
					t.Errorf("%s: goes on after its end", mechanism)
				}
			})
		}
	}
	wg.Wait()
	if len(d.clients.wire.pending) > 0 {
		t.Errorf("%d requests are left", len(d.clients.wire.pending))
	}
}

// A client that asks for what Dovecot does not offer must not reach it: it would close the
// connection of all.
func TestMechanismNotOffered(t *testing.T) {
	t.Parallel()
	s := startDovecot(t)
	d := must(t, &Dovecot{Address: s.client, Mechanisms: []string{"xoauth2"}})
	open := d.ProxyExchange(peer, sasl.SCRAMSHA256)
	defer open.Close()
	if _, _, err := open.Next(ctx, nil); err != nil {
		t.Fatal(err)
	}
	x := d.ProxyExchange(peer, sasl.XOAuth2)
	defer x.Close()
	if _, _, err := x.Next(ctx, []byte("user=alice")); err == nil || refusedBy(err) {
		t.Errorf("%v, want an error that is not a refusal", err)
	}
	if _, _, err := open.Next(ctx, []byte("n,,n=alice@example.org,r=abcdefgh")); err != nil {
		t.Error("the others' connection:", err)
	}
}
