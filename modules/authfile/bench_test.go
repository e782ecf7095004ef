package authfile

import (
	"context"
	"testing"
	"time"

	gosasl "github.com/emersion/go-sasl"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
	"github.com/caddy-msa/caddy-msa/caddymsa/passwd"
	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
)

// BenchmarkAuth is one whole exchange, both sides of it, for each mechanism and scheme, without
// the cache and with it. Other backends have a BenchmarkLogin of their own.
func BenchmarkAuth(b *testing.B) {
	const name, password, realm = "alice@example.org", "correct horse", "msa.example.org"
	for _, bb := range []struct {
		scheme, mechanism string
		cache             conf.Duration
	}{
		{"ARGON2ID", sasl.Plain, -1}, {"ARGON2ID", sasl.Plain, conf.Duration(time.Hour)}, {"BLF-CRYPT", sasl.Plain, -1},
		{"SHA512-CRYPT", sasl.Plain, -1}, {"PBKDF2", sasl.Plain, -1}, {"PLAIN", sasl.Plain, -1}, {"PLAIN", sasl.Login, -1},
		{"SCRAM-SHA-256", sasl.SCRAMSHA256, -1}, {"DIGEST-MD5.realm=" + realm, sasl.DigestMD5, -1},
	} {
		label := bb.mechanism + "/" + bb.scheme
		if bb.cache > 0 {
			label += "/cached"
		}
		b.Run(label, func(b *testing.B) {
			line, err := passwd.Generate(bb.scheme, name, password, passwd.Options{})
			if err != nil {
				b.Fatal(err)
			}
			f := &File{Path: usersFile(b, name+":"+line+"\n"), Cache: bb.cache}
			if err := f.Provision(msatest.Context(b)); err != nil {
				b.Fatal(err)
			}
			defer f.Cleanup()
			b.ReportAllocs()
			for b.Loop() {
				client, server := sides(b, f, bb.mechanism, name, password, realm)
				if err := exchange(client, server); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "auths/s")
		})
	}
}

// sides makes both sides of an exchange, as a session does.
func sides(b *testing.B, f *File, mechanism, name, password, realm string) (gosasl.Client, gosasl.Server) {
	ctx, peer := context.Background(), caddymsa.Peer{}
	check := func(user, password string) error {
		_, err := f.VerifyPassword(ctx, peer, user, password)
		return err
	}
	switch mechanism {
	case sasl.Plain:
		return gosasl.NewPlainClient("", name, password), sasl.NewPlain(check)
	case sasl.Login:
		return gosasl.NewLoginClient(name, password), sasl.NewLogin(check)
	case sasl.DigestMD5:
		return sasl.NewDigestMD5Client(name, password, realm, realm), sasl.NewDigestMD5(sasl.DigestConfig{
			Realms: []string{realm}, Hosts: []string{realm},
			Verify: func(r *sasl.DigestResponse) error {
				all, err := f.DigestCredentials(ctx, peer, r.User, r.Realm)
				if err != nil || len(all) == 0 || all[0].HA1 == nil || !r.Matches(*all[0].HA1) {
					return caddymsa.ErrCredentials
				}
				return nil
			},
		})
	}
	client, err := sasl.NewSCRAMClient(name, password)
	if err != nil {
		b.Fatal(err)
	}
	return client, sasl.NewSCRAM(sasl.SCRAMConfig{Lookup: func(user string) (sasl.SCRAMCredential, error) {
		c, _, err := f.SCRAMCredential(ctx, peer, user)
		return c, err
	}})
}

func exchange(client gosasl.Client, server gosasl.Server) error {
	_, response, err := client.Start()
	for err == nil {
		challenge, done, failed := server.Next(response)
		if failed != nil || done {
			return failed
		}
		response, err = client.Next(challenge)
		if response == nil {
			response = []byte{}
		}
	}
	return err
}
