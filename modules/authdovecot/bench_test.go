//go:build linux

package authdovecot

import (
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
)

// BenchmarkLogin is a login each, one after the other and many at once, with Dovecot's cheapest scheme: what
// the way to it costs.
func BenchmarkLogin(b *testing.B) {
	s := startDovecot(b)
	password := func(d *Dovecot) func() error {
		return func() error {
			_, err := d.VerifyPassword(ctx, peer, "alice@example.org", "secret")
			return err
		}
	}
	handed := func(d *Dovecot, mechanism string) func() error {
		return func() error {
			return drive(d.ProxyExchange(peer, mechanism), clientOf(b, mechanism, "alice@example.org", "secret"))
		}
	}
	bare := must(b, &Dovecot{Address: s.client, Mechanisms: []string{sasl.SCRAMSHA256, sasl.DigestMD5}})
	full := must(b, &Dovecot{Address: s.client, UserDB: s.userdb})
	cached := must(b, &Dovecot{Address: s.client, Cache: conf.Duration(time.Hour)})
	for _, c := range []struct {
		name  string
		login func() error
	}{
		{"plain", password(bare)}, {"plain-userdb", password(full)}, {"plain-cached", password(cached)},
		{"scram", handed(bare, sasl.SCRAMSHA256)}, {"digest", handed(bare, sasl.DigestMD5)},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				if err := c.login(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "auths/s")
		})
		b.Run(c.name+"-parallel", func(b *testing.B) {
			b.SetParallelism(16)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := c.login(); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "auths/s")
		})
	}
}
