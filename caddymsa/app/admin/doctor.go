package admin

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/dnscheck"
	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
	"github.com/caddy-msa/caddy-msa/caddymsa/doctor/machine"
	"github.com/caddy-msa/caddy-msa/caddymsa/doctor/outside"
	"github.com/caddy-msa/caddy-msa/caddymsa/doctor/records"
)

// examineTimeout bounds each check: a next hop's own timeouts may be minutes.
const examineTimeout = 15 * time.Second

// examination is one visit of the doctor.
type examination struct {
	p       *Part
	q       *adminapi.DoctorRequest
	servers []Server
	egress  []netip.Addr
}

// examine answers POST /msa/doctor.
func examine(ctx context.Context, p *Part, q *adminapi.DoctorRequest) (*adminapi.DoctorAnswer, error) {
	e := &examination{p: p, q: q, servers: p.Servers}
	if q.Server != "" {
		only := p.server(q.Server)
		if only == nil {
			return nil, caddy.APIError{HTTPStatus: http.StatusNotFound, Err: p.noServer(q.Server)}
		}
		e.servers = []Server{*only}
	}
	for _, text := range q.Egress {
		ip, err := netip.ParseAddr(text)
		if err != nil {
			return nil, caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: fmt.Errorf("egress: %q is not an IP address", text)}
		}
		e.egress = append(e.egress, ip.Unmap())
	}
	answer := &adminapi.DoctorAnswer{Servers: []adminapi.DoctorServer{}}
	var checks []doctor.Check
	connections, size := 0, int64(0)
	for i := range e.servers {
		s := &e.servers[i]
		patient := s.Patient()
		connections, size = connections+patient.Connections, max(size, patient.MessageSize)
		seen := s.seen(ctx, &patient)
		answer.Servers = append(answer.Servers, seen)
		if q.Outside {
			checks = append(checks, (&outside.Target{Ours: true, Hostname: seen.Hostname, StartTLS: seen.StartTLS, Implicit: seen.Implicit, Fingerprint: seen.Fingerprint, Behind: seen.Behind}).Checks()...)
		}
		checks = append(checks, e.ofServer(s, &patient)...)
	}
	checks = append(checks, e.ofSpool()...)
	checks = append(checks,
		doctor.Func(func(context.Context) []doctor.Finding { return machine.Clock() }),
		within(func(ctx context.Context) []doctor.Finding { return machine.ClockAgainst(ctx, machine.TimeServers()) }),
		doctor.Func(func(context.Context) []doctor.Finding { return machine.CurrentLimits().Check(connections, size) }),
		doctor.Func(func(context.Context) []doctor.Finding { return machine.Proxies(os.Environ()) }))
	answer.Findings = doctor.Run(ctx, checks...)
	return answer, ctx.Err()
}

// within bounds a check.
func within(check func(context.Context) []doctor.Finding) doctor.Check {
	return doctor.Func(func(ctx context.Context) []doctor.Finding {
		ctx, cancel := context.WithTimeout(ctx, examineTimeout)
		defer cancel()
		return check(ctx)
	})
}

// seen is how a server is to be seen from outside.
func (s *Server) seen(ctx context.Context, patient *Patient) adminapi.DoctorServer {
	d := adminapi.DoctorServer{Name: s.Name, Hostname: s.Hostname, Behind: patient.Behind}
	for _, l := range s.Listeners {
		ip := l.Address.Addr()
		switch {
		case ip.IsUnspecified() && l.IPv6Only:
			ip = netip.IPv6Loopback()
		case ip.IsUnspecified(): // of [::] too: a machine may have no IPv6 beside it
			ip = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		}
		address := net.JoinHostPort(ip.String(), strconv.Itoa(int(l.Address.Port())))
		into := &d.StartTLS
		if l.ImplicitTLS {
			into = &d.Implicit
		}
		if !slices.Contains(*into, address) {
			*into = append(*into, address)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	if leaf, err := s.leaf(ctx); err == nil && leaf != nil {
		d.Fingerprint = outside.Fingerprint(leaf)
	}
	return d
}

// ofServer are the checks of one server.
func (e *examination) ofServer(s *Server, patient *Patient) []doctor.Check {
	x := caddymsa.Examination{Hostname: s.Hostname, MessageSize: patient.MessageSize, Resolver: e.q.Resolver, Domains: s.domains(e.q.Domains)}
	checks := []doctor.Check{
		doctor.Func(s.mechanisms),
		doctor.Func(func(context.Context) []doctor.Finding { return keyFiles(s.Name, patient.Certificates) }),
		doctor.Func(func(context.Context) []doctor.Finding { return believed(s.Name, patient.Proxies) }),
	}
	if len(s.Listeners) == 0 {
		n := doctor.About("ports", "server "+s.Name)
		n.Skip("look at it through what is in front, with --remote", "it listens on sockets that are no TCP ports, which are not looked at from outside")
		checks = append(checks, doctor.Func(func(context.Context) []doctor.Finding { return n.Findings }))
	}
	for _, b := range s.Backends {
		checks = append(checks, within(func(ctx context.Context) []doctor.Finding { return s.backend(ctx, b, x) }))
	}
	for _, m := range patient.Modules {
		checks = append(checks, within(func(ctx context.Context) []doctor.Finding { return m.examine(ctx, x) }))
	}
	return append(checks, within(func(ctx context.Context) []doctor.Finding { return e.dns(ctx, s, patient) }))
}

// examine asks a module, if it can be asked.
func (m Examined) examine(ctx context.Context, x caddymsa.Examination) []doctor.Finding {
	x.Subject = m.Subject
	if examiner, ok := m.Module.(caddymsa.Examiner); ok {
		return examiner.Examine(ctx, x)
	}
	n := doctor.About("routes", m.Subject)
	if mod, ok := m.Module.(caddy.Module); ok && mod.CaddyModule().ID == "msa.sinks.discard" {
		n.OK("messages are discarded")
		return n.Findings
	}
	n.Skip("submit a message to a recipient of the route: caddy msa doctor --submit", "the module does not say whether it works")
	return n.Findings
}

// dns are the records of the server's domains.
func (e *examination) dns(ctx context.Context, s *Server, patient *Patient) []doctor.Finding {
	n := doctor.About("dns", s.Hostname)
	resolver, err := dnscheck.New(e.q.Resolver)
	if err != nil {
		n.Skip("name a name server with --resolver", "%v", err)
		return n.Findings
	}
	z := &records.Zone{Resolver: resolver, Hostname: s.Hostname, Domains: s.domains(e.q.Domains), Egress: e.egress, Behind: patient.Behind}
	if len(z.Egress) == 0 {
		z.Egress = public(s.Egress)
	}
	for _, l := range s.Listeners.Reachable() {
		z.Ports = append(z.Ports, records.Port{Number: l.Address.Port(), Implicit: l.ImplicitTLS})
	}
	for _, k := range s.Keys {
		z.Keys = append(z.Keys, records.Key{Domain: k.Domain, Selector: k.Selector, Text: k.Text})
	}
	for _, m := range patient.Modules {
		if d, ok := m.Module.(direct); ok && d.Direct() {
			z.Direct = true
		}
	}
	return doctor.Run(ctx, z.Checks()...)
}

// direct is a sink that may deliver straight to the servers of recipients' domains.
type direct interface{ Direct() bool }

// domains are those that were named, and those that messages are signed for.
func (s *Server) domains(named []string) []string {
	all := slices.Clone(named)
	for _, k := range s.Keys {
		if !slices.Contains(all, k.Domain) {
			all = append(all, k.Domain)
		}
	}
	return all
}

// public are those of the addresses that others can see, or else those of this machine.
func public(known []netip.Addr) (all []netip.Addr) {
	if len(known) == 0 {
		return publicAddresses()
	}
	for _, ip := range known {
		if dnscheck.SeenOutside(ip) {
			all = append(all, ip)
		}
	}
	return all
}

// keyFiles are private, and keys belong to their certificates: what is in the files now, which may not be what is in force.
func keyFiles(server string, files []CertificateFiles) []doctor.Finding {
	n := doctor.About("files", "server "+server)
	for _, f := range files {
		machine.Private(n, "the certificate's key", f.Key)
		if _, err := conf.KeyPair(f.Certificate, f.Key); err != nil {
			n.Wrong("put a certificate and its key into "+f.Certificate+" and "+f.Key+"; until then the pair of before stays in force, and Caddy does not start again",
				"the certificate's files cannot be used together: %v", err)
		}
	}
	return n.Findings
}

// wide is how few bits a network of balancers has that is taken for a mistake.
const wideIPv4, wideIPv6 = 8, 32

// believed looks at whom the server believes who its clients are.
func believed(server string, networks []netip.Prefix) []doctor.Finding {
	n := doctor.About("proxies", "server "+server)
	for _, p := range networks {
		if p.Addr().Is4() && p.Bits() < wideIPv4 || p.Addr().Is6() && p.Bits() < wideIPv6 {
			n.Wrong("name the balancers alone in proxy_protocol { allow ... }", "whoever comes from %s can pretend to be any client", p)
		}
	}
	if len(networks) > 0 && n.Clean() {
		n.OK("clients' addresses are taken from %v (proxy_protocol)", networks)
	}
	return n.Findings
}
