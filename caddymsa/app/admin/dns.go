package admin

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"net"
	"net/http"
	"net/netip"
	"slices"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
	"github.com/caddy-msa/caddy-msa/caddymsa/dnscheck"
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
		if p, err := netip.ParsePrefix(a.String()); err == nil && dnscheck.SeenOutside(p.Addr()) {
			all = append(all, p.Addr().Unmap())
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
	for _, client := range clients {
		leaf, err := s.shownTo(ctx, client)
		if err != nil || leaf == nil { // it has no certificate for such clients
			continue
		}
		sum := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
		c := adminapi.DNSCertificate{SPKI: hex.EncodeToString(sum[:]), NotAfter: leaf.NotAfter, KeepsKey: s.KeepsKey}
		if !slices.ContainsFunc(d.Certificates, func(have adminapi.DNSCertificate) bool { return have.SPKI == c.SPKI }) {
			d.Certificates = append(d.Certificates, c)
		}
	}
	return d
}

// clients are those that take any key, and those that take keys of one kind: a server may have a certificate for each.
var clients = []*tls.Config{
	{},
	{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256}},
	{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256}},
}
