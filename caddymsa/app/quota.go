package app

import (
	"context"
	"net/netip"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// quotas are what the server's policies leave who comes from ip, which may be invalid. Those whose matchers are for others are left out.
func (srv *Server) quotas(ctx context.Context, id caddymsa.Identity, ip netip.Addr) []adminapi.PolicyQuota {
	s := &caddymsa.Submission{Entry: &queue.Entry{Server: srv.name, User: id.User, Attributes: id.Attributes}, Identity: id, RemoteIP: ip,
		Hostname: srv.Hostname, Session: "quota", Counter: srv.app.counter()}
	if ip.IsValid() {
		s.Entry.RemoteIP = ip.String()
	}
	all := []adminapi.PolicyQuota{}
	for _, p := range srv.policies.all {
		limit, ok := p.module.(caddymsa.QuotaPolicy)
		if !ok {
			continue
		}
		sometimes := p.matchers.moment() > caddymsa.MomentConnection || !ip.IsValid() && p.matchers.askWhere()
		if !sometimes {
			if matched, err := p.matchers.matchEntry(s.Entry, nil); err == nil && !matched {
				continue
			}
		}
		calling(ctx, "policy "+p.name, "quota")
		for _, q := range limit.Quotas(ctx, s) {
			all = append(all, adminapi.PolicyQuota{Policy: p.name, Sometimes: sometimes, LogOnly: p.LogOnly, Quota: q})
		}
	}
	return all
}

// askWhere tells whether one of them asks where the client comes from.
func (ms matcherSets) askWhere() bool {
	for _, set := range ms {
		for _, m := range set {
			if f, ok := m.(caddymsa.FacetMatcher); ok {
				if facet, _ := f.Facet(); facet == caddymsa.FacetRemoteIP {
					return true
				}
			}
		}
	}
	return false
}
