package admin

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net"
	"net/http"
	"net/netip"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
)

// serveDNS says what records in DNS are made of.
func serveDNS(w http.ResponseWriter, r *http.Request) error {
	return answerJSON(w, r, func(ctx context.Context, p *Part) (answer adminapi.DNS, _ error) {
		ctx, cancel := context.WithTimeout(ctx, healthTimeout)
		defer cancel()
		for i := range p.Servers {
			answer.Servers = append(answer.Servers, p.Servers[i].dns(ctx))
		}
		answer.Machine = publicAddresses()
		return answer, nil
	})
}

// publicAddresses are those of this machine that others can see.
func publicAddresses() (all []netip.Addr) {
	own, _ := net.InterfaceAddrs()
	for _, a := range own {
		p, err := netip.ParsePrefix(a.String())
		if ip := p.Addr().Unmap(); err == nil && ip.IsGlobalUnicast() && !ip.IsPrivate() {
			all = append(all, ip)
		}
	}
	return all
}

func (s *Server) dns(ctx context.Context) adminapi.DNSServer {
	d := adminapi.DNSServer{Name: s.Name, Hostname: s.Hostname, Ports: []adminapi.DNSPort{}, Egress: s.Egress}
	for _, l := range s.Listeners.Reachable() {
		d.Ports = append(d.Ports, adminapi.DNSPort{Port: l.Address.Port(), ImplicitTLS: l.ImplicitTLS})
	}
	for _, k := range s.Keys {
		d.Keys = append(d.Keys, adminapi.DNSKey{Domain: k.Domain, Selector: k.Selector, Text: k.Text})
	}
	if leaf, err := s.leaf(ctx); err == nil && leaf != nil {
		sum := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
		d.Certificate = &adminapi.DNSCertificate{SPKI: hex.EncodeToString(sum[:]), NotAfter: leaf.NotAfter, KeepsKey: s.KeepsKey}
	}
	return d
}
