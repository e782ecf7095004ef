package app

import (
	"net/netip"
	"slices"

	"github.com/caddyserver/certmagic"

	"github.com/caddy-msa/caddy-msa/caddymsa"
)

// keyRecords are what DNS has to say of the keys that the server's policies sign with.
func (srv *Server) keyRecords() (all []caddymsa.KeyRecord) {
	for _, p := range srv.Policies {
		if k, ok := p.module.(caddymsa.KeyPublisher); ok {
			all = append(all, k.KeyRecords()...)
		}
	}
	return all
}

// egress are the addresses that the server's mail comes from, as far as its routes name them.
func (srv *Server) egress() (all []netip.Addr) {
	routes := slices.Clone(srv.Routes)
	if srv.Bounces != nil {
		routes = append(routes, srv.Bounces)
	}
	for _, r := range routes {
		if e, ok := r.sink.(caddymsa.Egresser); ok {
			all = append(all, e.Egress()...)
		}
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all)
}

// keepsKey tells whether the key of the server's certificate stays when that is renewed.
func (srv *Server) keepsKey() bool {
	if srv.certs != nil {
		return true // the operator's files
	}
	if srv.tlsApp.Automation == nil {
		return false
	}
	for _, p := range srv.tlsApp.Automation.Policies {
		subjects := p.Subjects()
		if len(subjects) == 0 || slices.ContainsFunc(subjects, func(s string) bool { return certmagic.MatchWildcard(srv.Hostname, s) }) {
			return p.ReusePrivateKeys
		}
	}
	return false
}
