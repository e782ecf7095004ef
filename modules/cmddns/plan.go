package cmddns

import (
	"cmp"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
	"github.com/caddy-msa/caddy-msa/caddymsa/dnscheck"
)

// plan is what the records are made of.
type plan struct {
	domain string
	server adminapi.DNSServer
	web    string // host of the web sites
	egress []string
	public []netip.Addr // of the machine
	sites  []site
	policy string // of MTA-STS
}

// section are records with one purpose.
type section struct {
	about   string
	notes   []string // what is not known, or has to be seen to
	records []record
}

func (s *section) note(format string, a ...any) { s.notes = append(s.notes, fmt.Sprintf(format, a...)) }

// record is one that DNS should have.
type record struct {
	dns.RR
	fits compare
}

func (s *section) add(fits compare, rr dns.RR) { s.records = append(s.records, record{rr, fits}) }

// ttl of the records, in seconds.
const ttl = 3600

func header(name string, kind uint16) dns.RR_Header {
	return dns.RR_Header{Name: dns.CanonicalName(name), Rrtype: kind, Class: dns.ClassINET, Ttl: ttl}
}

// ports puts those that clients reach in the place of those that the server listens on.
func (p *plan) ports(submissions, submission int) error {
	for implicit, port := range map[bool]int{true: submissions, false: submission} {
		if port == asListened {
			continue
		}
		if port < 0 || port > 65535 {
			return fmt.Errorf("%d is not a port", port)
		}
		p.server.Ports = slices.DeleteFunc(p.server.Ports, func(have adminapi.DNSPort) bool { return have.ImplicitTLS == implicit })
		if port > 0 {
			p.server.Ports = append(p.server.Ports, adminapi.DNSPort{Port: uint16(port), ImplicitTLS: implicit}) //nolint:gosec // checked above
		}
	}
	return nil
}

func (p *plan) sections() []section {
	return []section{p.submission(), p.autoconfig(), p.tlsa(), p.dkim(), p.spf(), p.mtasts()}
}

// submission has both services (RFC 6186, RFC 8314 section 5.1); one that is not there has the root as its target.
func (p *plan) submission() (s section) {
	s.about = "Where mail programs submit (RFC 6186, RFC 8314)"
	if len(p.server.Ports) == 0 {
		s.note("the server listens on no TCP port: say with --submission-port and --submissions-port where clients reach it")
		return s
	}
	for _, service := range []struct {
		name     string
		implicit bool
		priority uint16
	}{{"_submissions", true, 0}, {"_submission", false, 10}} {
		name := service.name + "._tcp." + p.domain
		var found bool
		for _, port := range p.server.Ports {
			if port.ImplicitTLS == service.implicit {
				found = true
				s.add(sameService, &dns.SRV{Hdr: header(name, dns.TypeSRV), Priority: service.priority, Weight: 1, Port: port.Port, Target: dns.CanonicalName(p.server.Hostname)})
			}
		}
		if !found {
			s.add(noService, &dns.SRV{Hdr: header(name, dns.TypeSRV), Target: "."})
		}
	}
	return s
}

func (p *plan) autoconfig() (s section) {
	s.about = "Where mail programs ask for their settings"
	target := dns.CanonicalName(cmp.Or(p.web, p.server.Hostname))
	for _, label := range []string{"autoconfig", "autodiscover"} {
		host := label + "." + p.domain
		if !p.hasAutoconfig(host) {
			s.note("%s: no site of this Caddy has msa_autoconfig %s for the domain under this name", host, p.server.Name)
			continue
		}
		s.add(sameHost, &dns.CNAME{Hdr: header(host, dns.TypeCNAME), Target: target})
		if label == "autodiscover" {
			s.add(sameService, &dns.SRV{Hdr: header("_autodiscover._tcp."+p.domain, dns.TypeSRV), Weight: 1, Port: 443, Target: dns.CanonicalName(host)})
		}
	}
	return s
}

// tlsa names the keys of the certificates that clients are shown (RFC 7671, DANE-EE): a server may have one for each kind of key.
func (p *plan) tlsa() (s section) {
	s.about = "The server's key, for clients that check it by DANE (RFC 7673); it counts only where the zone is signed"
	if len(p.server.Certificates) == 0 {
		s.note("TLSA: the server has no certificate for %s yet", p.server.Hostname)
		return s
	}
	var renewed time.Time // the first of those whose keys change
	for _, c := range p.server.Certificates {
		if !c.KeepsKey && (renewed.IsZero() || c.NotAfter.Before(renewed)) {
			renewed = c.NotAfter
		}
	}
	if !renewed.IsZero() {
		s.note("the certificate is renewed with another key, on %s at the latest: this record has to follow at once, so leave it out unless that is automatic, or have Caddy keep the key: reuse_private_keys in the TLS app's automation policy", renewed.UTC().Format(time.DateOnly))
	}
	for _, port := range p.server.Ports {
		name := fmt.Sprintf("_%d._tcp.%s", port.Port, p.server.Hostname)
		for _, c := range p.server.Certificates {
			s.add(sameKey, &dns.TLSA{Hdr: header(name, dns.TypeTLSA), Usage: 3, Selector: 1, MatchingType: 1, Certificate: c.SPKI})
		}
	}
	return s
}

// dkim has the keys that sign for the domain: its own, or else those of the nearest domain above it.
func (p *plan) dkim() (s section) {
	s.about = "The keys that messages are signed with (RFC 6376)"
	for above := p.domain; above != ""; _, above, _ = strings.Cut(above, ".") {
		for _, k := range p.server.Keys {
			if k.Domain == above {
				s.add(sameDKIM, &dns.TXT{Hdr: header(k.Selector+"._domainkey."+k.Domain, dns.TypeTXT), Txt: chunks(k.Text)})
			}
		}
		if len(s.records) > 0 {
			return s
		}
	}
	s.note("DKIM: no policy dkim of this server has a key for the domain")
	return s
}

// chunks are what a text has as strings of 255 octets.
func chunks(text string) (all []string) {
	for part := range slices.Chunk([]byte(text), 255) {
		all = append(all, string(part))
	}
	return all
}

// spf has the addresses that mail leaves from. What else the domain sends from is not known here: hence ~all.
func (p *plan) spf() (s section) {
	s.about = "Where mail of the domain comes from (RFC 7208): add what else sends it; there must be only one such record"
	terms := slices.Clone(p.egress)
	for _, ip := range p.server.Egress {
		if !dnscheck.SeenOutside(ip) {
			s.note("SPF: mail leaves from %s, which others see as another address: name that with --egress", ip)
			continue
		}
		if term := spfTerm(netip.PrefixFrom(ip, ip.BitLen())); !slices.Contains(terms, term) {
			terms = append(terms, term)
		}
	}
	if len(terms) == 0 && len(p.server.Egress) == 0 && len(p.public) > 0 {
		for _, ip := range p.public {
			terms = append(terms, spfTerm(netip.PrefixFrom(ip, ip.BitLen())))
		}
		s.note("SPF: no route says where mail leaves from, so that it is the addresses of the machine: if it is not, say with --egress")
	}
	if len(terms) == 0 {
		s.note("SPF: the addresses that mail leaves from are not known: name them with --egress, or a next hop that others run as in --egress include:_spf.example.net")
		return s
	}
	text := "v=spf1 " + strings.Join(terms, " ") + " ~all"
	s.add(sameSPF(terms), &dns.TXT{Hdr: header(p.domain, dns.TypeTXT), Txt: chunks(text)})
	return s
}

func spfTerm(p netip.Prefix) string {
	kind := "ip4:"
	if p.Addr().Is6() {
		kind = "ip6:"
	}
	if p.IsSingleIP() {
		return kind + p.Addr().String()
	}
	return kind + p.Masked().String()
}

// mechanism is a term of SPF that may stand in --egress.
var mechanism = regexp.MustCompile(`^(include:|exists:|a[:/]|mx[:/]|ip4:|ip6:)[^\s"]+$|^(a|mx)$`)

func parseEgress(values []string) (terms []string, err error) {
	for _, v := range values {
		ip, notIP := netip.ParseAddr(v)
		network, notNetwork := netip.ParsePrefix(v)
		switch {
		case notIP == nil:
			v = spfTerm(netip.PrefixFrom(ip.Unmap().WithZone(""), ip.Unmap().BitLen()))
		case notNetwork == nil:
			v = spfTerm(network)
		case !mechanism.MatchString(v):
			return nil, fmt.Errorf("--egress: %q is not an address, a network or an SPF term such as include:_spf.example.net", v)
		}
		if !slices.Contains(terms, v) {
			terms = append(terms, v)
		}
	}
	return terms, nil
}

// mtasts has an id that changes with the policy (RFC 8461 section 3.1).
func (p *plan) mtasts() (s section) {
	s.about = "How mail to the domain is protected (RFC 8461): of its MX hosts, whether they are this server's or not"
	policy := cmp.Or(p.policy, p.sitePolicy())
	if policy == "" {
		s.note("MTA-STS: no site of this Caddy answers with a policy for mta-sts.%s, and none is named with --mta-sts", p.domain)
		return s
	}
	s.add(samePolicy, &dns.TXT{Hdr: header("_mta-sts."+p.domain, dns.TypeTXT), Txt: []string{"v=STSv1; id=" + dnscheck.PolicyID(policy) + ";"}})
	s.add(sameHost, &dns.CNAME{Hdr: header("mta-sts."+p.domain, dns.TypeCNAME), Target: dns.CanonicalName(cmp.Or(p.web, p.server.Hostname))})
	return s
}
