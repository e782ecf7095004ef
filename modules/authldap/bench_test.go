package authldap

import (
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
)

// BenchmarkLogin is a right password, one login after another and several at once.
func BenchmarkLogin(b *testing.B) {
	s := startSlapd(b)
	service := LDAP{Servers: []string{s.ldaps}, TLSClient: conf.TLSClient{CA: []string{s.ca}}, Base: suffix, BindDN: finder, BindPassword: "find it"}
	search, cached, stored := service, service, service
	cached.Cache = conf.Duration(1e12)
	stored.PasswordAttribute = "userPassword"
	for _, way := range []struct {
		name string
		l    *LDAP
	}{
		{"bind", &LDAP{Servers: []string{s.ldaps}, TLSClient: conf.TLSClient{CA: []string{s.ca}}, UserDN: "uid={local}," + below, Domains: []string{"example.org"}}},
		{"search", &search}, {"search_cached", &cached}, {"stored", &stored},
	} {
		must(b, way.l)
		login := func(b *testing.B) {
			if _, err := way.l.VerifyPassword(ctx, peer, "alice@example.org", "secret"); err != nil {
				b.Error(err)
			}
		}
		b.Run(way.name+"/one", func(b *testing.B) {
			for b.Loop() {
				login(b)
			}
		})
		b.Run(way.name+"/parallel", func(b *testing.B) {
			b.SetParallelism(8)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					login(b)
				}
			})
		})
	}
}
