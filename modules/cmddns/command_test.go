package cmddns

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
	"github.com/caddy-msa/caddy-msa/caddymsa/dnscheck"
	"github.com/caddy-msa/caddy-msa/caddymsa/dnscheck/dnstest"
)

var update = flag.Bool("update", false, "write what the command prints into testdata")

// running is what the admin API says unless a test says otherwise.
func running() adminapi.DNSServer {
	return adminapi.DNSServer{
		Name: "msa.example.org", Hostname: "msa.example.org", Ports: []adminapi.DNSPort{{Port: 465, ImplicitTLS: true}, {Port: 587}},
		Certificates: []adminapi.DNSCertificate{{SPKI: strings.Repeat("0a", 32), NotAfter: time.Date(2027, 2, 3, 0, 0, 0, 0, time.UTC), KeepsKey: true}},
		Keys: []adminapi.DNSKey{{Domain: "example.org", Selector: "ed", Text: "v=DKIM1; k=ed25519; p=MTIz"}, {Domain: "example.org", Selector: "rsa", Text: "v=DKIM1; k=rsa; p=" + strings.Repeat("MTIz", 90)},
			{Domain: "example.net", Selector: "ed", Text: "v=DKIM1; k=ed25519; p=MTIz"}},
		Egress: []netip.Addr{netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("2001:db8::7")},
	}
}

// web is what Caddy adapts of a site with msa_autoconfig and one with an MTA-STS policy.
const web = `{"srv0": {"routes": [
	{"match": [{"host": ["autoconfig.example.org", "Autodiscover.example.org"]}], "handle": [{"handler": "subroute", "routes": [
		{"handle": [{"handler": "msa_autoconfig", "server": "msa.example.org", "domains": ["example.org", "*.example.net"]}]}]}]},
	{"match": [{"host": ["mta-sts.example.org"]}], "handle": [{"handler": "subroute", "routes": [
		{"match": [{"path": ["/.well-known/mta-sts.txt"]}], "handle": [{"handler": "static_response", "body": "version: STSv1\nmode: enforce\nmx: mx.example.org\nmax_age: 604800\n"}]}]}]}
]}}`

// admin is an admin API.
func admin(t *testing.T, sites string, servers ...adminapi.DNSServer) (address string) {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/msa/dns":
			_ = json.NewEncoder(w).Encode(adminapi.DNS{Servers: servers, Machine: []netip.Addr{netip.MustParseAddr("198.51.100.9")}})
		case r.URL.Path == "/config/apps/http/servers" && sites != "":
			_, _ = w.Write([]byte(sites))
		default:
			w.WriteHeader(http.StatusForbidden)
		}
	}))
	t.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "http://")
}

func command(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	cmd := newCommand()
	cmd.SetContext(t.Context())
	cmd.SetArgs(args)
	cmd.SetOut(&out)
	cmd.SilenceErrors = true
	err := cmd.Execute()
	return out.String(), err
}

// What is printed is a zone file, with a comment for what is not known.
func TestPrint(t *testing.T) {
	policy := filepath.Join(t.TempDir(), "policy")
	if err := os.WriteFile(policy, []byte("version: STSv1\nmode: none\nmax_age: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	bare := adminapi.DNSServer{Name: "msa\x1b[2J", Hostname: "msa.provider.example", Ports: []adminapi.DNSPort{}, Egress: []netip.Addr{netip.MustParseAddr("10.0.0.7"), netip.MustParseAddr("100.64.0.7")}}
	rotating := running()
	rotating.Certificates[0].KeepsKey = false
	unbound := running()
	unbound.Egress = nil
	twoKeys := running()
	twoKeys.Certificates = append(twoKeys.Certificates, adminapi.DNSCertificate{SPKI: strings.Repeat("0b", 32), NotAfter: time.Date(2027, 2, 3, 0, 0, 0, 0, time.UTC), KeepsKey: true})
	for name, c := range map[string]struct {
		sites  string
		server adminapi.DNSServer
		args   []string
	}{
		"two_keys":     {"", twoKeys, []string{"example.org"}},
		"unbound":      {"", unbound, []string{"example.org"}},
		"everything":   {web, running(), []string{"example.org"}},
		"nothing":      {"", bare, []string{"example.org"}},
		"another_zone": {web, rotating, []string{"sales.example.net.", "--egress", "198.51.100.0/24,include:_spf.example.com"}},
		"published":    {web, running(), []string{"EXAMPLE.org", "--submissions-port", "0", "--submission-port", "2587", "--web", "www.example.org", "--mta-sts", policy}},
		"idn":          {"", running(), []string{"münchen.example", "--egress", "2001:db8::1"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := command(t, append(c.args, "--address", admin(t, c.sites, c.server))...)
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", name+".zone")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil || got != string(want) {
				t.Errorf("%v, printed\n%s", err, got)
			}
			zone := dns.NewZoneParser(strings.NewReader(got), "", "")
			for rr, ok := zone.Next(); ok; rr, ok = zone.Next() {
				if strings.ContainsAny(rr.String(), "\x1b") {
					t.Error(rr)
				}
			}
			if zone.Err() != nil {
				t.Error(zone.Err())
			}
		})
	}
}

func TestRefused(t *testing.T) {
	other := running()
	other.Name = "other"
	address := admin(t, "", running(), other)
	for want, args := range map[string][]string{
		"choose one with --server: msa.example.org, other": {"example.org"},
		`no server "x"`:                     {"example.org", "--server", "x"},
		`"a b":`:                            {"a b"},
		`"[192.0.2.1]": it is not a domain`: {"[192.0.2.1]"},
		`--egress: "nonsense"`:              {"example.org", "--egress", "nonsense"},
		"70000 is not a port":               {"example.org", "--server", "other", "--submission-port", "70000"},
		"no such file":                      {"example.org", "--server", "other", "--mta-sts", "/nonexistent"},
	} {
		if _, err := command(t, append(args, "--address", address)...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, not %s", err, want)
		}
	}
}

// A site is named by its operator's script, and asked under A-labels.
func TestSitesOfIDN(t *testing.T) {
	sites := `{"srv0": {"routes": [{"match": [{"host": ["autoconfig.MÜNCHEN.example", "*.münchen.example"]}], "handle": [
		{"handler": "msa_autoconfig", "server": "msa.example.org", "domains": ["münchen.example"]},
		{"handler": "static_response", "body": "version: STSv1\nmode: none\nmax_age: 1\n"}]}]}}`
	got, err := command(t, "münchen.example", "--address", admin(t, sites, running()))
	for _, name := range []string{"autoconfig", "autodiscover", "mta-sts"} {
		if !strings.Contains(got, "\n"+name+".xn--mnchen-3ya.example.\t3600\tIN\tCNAME\tmsa.example.org.") {
			t.Errorf("%v, no %s:\n%s", err, name, got)
		}
	}
}

// What is printed fits when it is published; each deviation is named.
func TestCheck(t *testing.T) {
	address := admin(t, web, running())
	args := []string{"example.org", "--egress", "198.51.100.1", "--address", address}
	printed, err := command(t, args...)
	if err != nil {
		t.Fatal(err)
	}
	published := []string{"msa.example.org. A 192.0.2.1"}
	zone := dns.NewZoneParser(strings.NewReader(printed), "", "")
	for rr, ok := zone.Next(); ok; rr, ok = zone.Next() {
		published = append(published, rr.String())
	}
	// with says what is in the place of a record that begins so.
	with := func(begins string, instead ...string) []string {
		return append(slices.DeleteFunc(slices.Clone(published), func(s string) bool { return strings.HasPrefix(s, begins) }), instead...)
	}
	for name, c := range map[string]struct {
		published []string
		state     string // of the record that deviates
		says      string
	}{
		"all":               {published, "", ""},
		"other priorities":  {with("_submissions", "_submissions._tcp.example.org. SRV 5 5 465 MSA.example.org."), "", ""},
		"another beside":    {with("_submissions", "_submissions._tcp.example.org. SRV 1 1 465 b.example.", "_submissions._tcp.example.org. SRV 1 1 465 msa.example.org."), "", ""},
		"address for alias": {with("autoconfig", "autoconfig.example.org. A 192.0.2.1"), "", ""},
		"wider SPF":         {with("example.org", `example.org. TXT "v=spf1 ip4:192.0.2.0/24 ip4:198.51.100.0/24 ip6:2001:db8::/32 mx -all"`), "", ""},
		"DKIM spelled":      {with("ed._domainkey", `ed._domainkey.example.org. TXT "k=ed25519;p=MTIz"`), "", ""},
		"SPF in capitals":   {with("example.org", `example.org. TXT "v=SPF1 +IP4:192.0.2.7 " "IP4:198.51.100.0/25 ip6:2001:DB8::7 ?all"`), "", ""},
		"SPF split":         {with("example.org", `example.org. TXT "v=spf1 ip4:192.0.2.7 ip4:198.51." "100.1 ip6:2001:db8::7 ~all"`), "", ""},
		"DKIM by alias":     {with("ed._domainkey", "ed._domainkey.example.org. CNAME key.example.com.", `KEY.example.com. TXT "v=DKIM1; k=ed25519; " "p=MT Iz"`), "", ""},
		"SRV by alias":      {with("_submissions", "_submissions._tcp.example.org. CNAME s.example.com.", "s.example.com. SRV 0 0 465 Msa.Example.Org."), "", ""},
		"TLSA in capitals":  {with("_465", "_465._tcp.msa.example.org. TLSA 3 1 1 "+strings.Repeat("0A", 32)), "", ""},
		"not everybody":     {with("example.org", `example.org. TXT "v=spf1 -ip4:203.0.113.6 ip4:192.0.2.7 ip4:198.51.100.1 ip6:2001:db8::7 include:x.broken ~all"`), "", ""},
		"text beside SPF":   {append(slices.Clone(published), `example.org. TXT "google-site-verification=x"`, "example.org. MX 1 mx.example.org."), "", ""},
		"behind all":        {with("example.org", `example.org. TXT "v=spf1 ip4:192.0.2.7 ip6:2001:db8::7 -all ip4:198.51.100.1"`), "differs", "ip4:198.51.100.1"},
		"not let pass":      {with("example.org", `example.org. TXT "v=spf1 -ip4:198.51.100.1 ip4:192.0.2.7 ip6:2001:db8::7 ip4:198.51.100.1 ~all"`), "differs", "ip4:198.51.100.1"},
		"elsewhere too":     {with("autoconfig", "autoconfig.example.org. A 192.0.2.1", "autoconfig.example.org. A 203.0.113.1"), "differs", "203.0.113.1"},
		"DKIM for SHA-1":    {with("rsa._domainkey", strings.Replace(published[slices.IndexFunc(published, func(s string) bool { return strings.HasPrefix(s, "rsa._domainkey") })], "v=DKIM1;", "v=DKIM1; h=sha1;", 1)), "differs", "h=sha1"},
		"next key":          {append(slices.Clone(published), "_465._tcp.msa.example.org. TLSA 3 1 1 00"), "", ""},
		"no SRV":            {with("_submissions"), "missing", "_submissions._tcp.example.org."},
		"another port":      {with("_submission.", "_submission._tcp.example.org. SRV 5 5 25 msa.example.org."), "differs", "5 5 25 msa.example.org."},
		"autoconfig gone":   {with("autoconfig"), "missing", "autoconfig.example.org."},
		"elsewhere":         {with("autoconfig", "autoconfig.example.org. A 203.0.113.1"), "differs", "203.0.113.1"},
		"old key":           {with("_587", "_587._tcp.msa.example.org. TLSA 3 1 1 00"), "differs", "3 1 1 00"},
		"another DKIM":      {with("ed._domainkey", `ed._domainkey.example.org. TXT "k=ed25519;p=NDU2"`), "differs", "p=NDU2"},
		"two DKIM":          {append(slices.Clone(published), `ed._domainkey.example.org. TXT "k=ed25519;p=NDU2"`), "differs", "p=NDU2"},
		"no SPF":            {with("example.org", `example.org. TXT "hello"`), "missing", "v=spf1"},
		"narrow SPF":        {with("example.org", `example.org. TXT "v=spf1 ip4:192.0.2.7 -all"`), "differs", "ip4:198.51.100.1"},
		"two SPF":           {append(slices.Clone(published), `example.org. TXT "v=spf1 -all"`), "differs", "v=spf1 -all"},
		"beside MTA-STS":    {append(slices.Clone(published), `_mta-sts.example.org. TXT "v=spf1 -all"`), "", ""}, // as of a wildcard (RFC 8461 section 3.1)
		"two policies":      {append(slices.Clone(published), `_mta-sts.example.org. TXT "v=STSv1; id=old"`), "differs", "id=old"},
		"old policy":        {with("_mta-sts", `_mta-sts.example.org. TXT "v=STSv1; id=old"`), "differs", "id=old"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := command(t, append(args, "--check", "--resolver", dnstest.Serve(t, c.published...))...)
			if c.state == "" {
				if err != nil || strings.Contains(got, "differs") || strings.Contains(got, "missing") || strings.Count(got, "ok ") != len(published)-1 {
					t.Errorf("%v\n%s", err, got)
				}
				return
			}
			i := strings.Index(got, c.state+" ")
			if err == nil || !strings.Contains(err.Error(), "1 of ") || i < 0 || !strings.Contains(got[i:], c.says) {
				t.Errorf("%v\n%s", err, got)
			}
		})
	}
}

// What a policy includes, or leads to, lets pass as what it says itself.
func TestCheckSPFElsewhere(t *testing.T) {
	s := running()
	s.Keys, s.Egress, s.Ports = nil, nil, nil
	address := admin(t, "", s)
	for policy, want := range map[string]string{
		"v=spf1 include:own.example.org ~all":                                "ok ",
		"v=spf1 redirect=own.example.org":                                    "ok ",
		"v=spf1 include:own.example.org redirect=x.broken":                   "ok ",
		"v=spf1 include:loop.example.org ~all":                               "differs ",
		"v=spf1 ~all redirect=own.example.org":                               "differs ",
		"v=spf1 redirect=own.example.org -all":                               "differs ",
		"v=spf1 -include:own.example.org ~all":                               "differs ",
		"v=spf1 ip4:198.51.100.0/24 include:x.broken ~all":                   "unknown ",
		"v=spf1 ip4:198.51.100.0/24 include:%{d}.broken ~all":                "differs ",
		"v=spf1 ip4:198.51.100.0/24 include:none.example.org ~all":           "differs ",
		"v=spf1 ip4:198.51.0.0/16 include:_spf.example.net include:x.broken": "ok ",
	} {
		got, _ := command(t, "example.org", "--egress", "198.51.100.0/24,include:_spf.example.net", "--address", address, "--check", "--resolver", dnstest.Serve(t,
			`example.org. TXT "`+policy+`"`, `own.example.org. TXT "v=spf1 include:more.example.org include:_spf.example.net -all"`, `more.example.org. TXT "v=spf1 ip4:198.51.100.0/23 -all"`,
			`loop.example.org. TXT "v=spf1 include:loop.example.org -all"`))
		if !strings.Contains("\n"+got, "\n"+want) {
			t.Errorf("%s: not %s\n%s", policy, want, got)
		}
	}
}

// Routes within routes: the site is asked under the names that all of them have.
func TestSitesNested(t *testing.T) {
	sites := `{"srv0": {"routes": [{"match": [{"host": ["*.example.org"]}], "handle": [{"handler": "subroute", "routes": [
		{"match": [{"host": ["autoconfig.example.org"]}], "handle": [{"handler": "msa_autoconfig", "server": "msa.example.org", "domains": ["example.org"]}]},
		{"match": [{"host": ["www.example.org"]}], "handle": [{"handler": "static_response", "body": "version: STSv1\nmode: none\nmax_age: 1\n"}]}]}]}]}}`
	got, err := command(t, "example.org", "--address", admin(t, sites, running()))
	if err != nil || !strings.Contains(got, "\nautoconfig.example.org.") || strings.Contains(got, "\nautodiscover.example.org.") || strings.Contains(got, "\nmta-sts.example.org.") {
		t.Errorf("%v\n%s", err, got)
	}
}

// A name server that fails does not make records missing.
func TestCheckUnknown(t *testing.T) {
	s := running()
	got, err := command(t, "example.broken", "--egress", "192.0.2.7", "--address", admin(t, "", s), "--check", "--resolver", dnstest.Serve(t))
	if err == nil || !strings.Contains(got, "unknown  _submissions._tcp.example.broken.") || !strings.Contains(got, "SERVFAIL") {
		t.Errorf("%v\n%s", err, got)
	}
}

// What several name servers do not say is in one line.
func TestCheckUnknownLine(t *testing.T) {
	var out bytes.Buffer
	silent := func(context.Context, *dnscheck.Resolver, dns.RR) ([]string, bool, error) {
		return nil, false, errors.Join(errors.New("one is silent"), errors.New("two is silent"))
	}
	s := section{}
	s.add(silent, &dns.TXT{Hdr: header("a.example", dns.TypeTXT), Txt: []string{"x"}})
	if err := check(t.Context(), &out, nil, []section{s}); err == nil || !strings.Contains(out.String(), "one is silent; two is silent") {
		t.Errorf("%v\n%s", err, out.String())
	}
}

// A service that is not there is said not to be.
func TestCheckAbsent(t *testing.T) {
	s := running()
	s.Ports = s.Ports[:1]
	s.Keys, s.Egress = nil, nil
	tlsa := "_465._tcp.msa.example.org. TLSA 3 1 1 " + s.Certificates[0].SPKI
	srv := "_submissions._tcp.example.org. SRV 0 1 465 msa.example.org."
	for name, c := range map[string]struct {
		record string
		fits   bool
	}{
		"absent": {"x.example. A 192.0.2.1", true}, "root": {"_submission._tcp.example.org. SRV 0 0 0 .", true}, "there": {"_submission._tcp.example.org. SRV 0 1 587 msa.example.org.", false},
	} {
		got, err := command(t, "example.org", "--address", admin(t, "", s), "--check", "--resolver", dnstest.Serve(t, tlsa, srv, `example.org. TXT "v=spf1 ip4:198.51.100.9 -all"`, c.record))
		if (err == nil) != c.fits {
			t.Errorf("%s: %v\n%s", name, err, got)
		}
	}
}

// Terms that are no addresses are looked for among those that are heeded; a network may be part of a wider one.
func TestHeededTerms(t *testing.T) {
	const policy = "v=spf1 + -include:no.example +include:_SPF.example.net ip4:198.51.0.0/16 ip6:2001:db8::/32 ip4:x ~all include:late.example"
	for term, want := range map[string]bool{
		"include:_spf.example.net": true, "include:no.example": false, "include:late.example": false, "ip4:198.51.100.0/24": true, "ip4:198.0.0.0/8": false,
		"ip4:198.51.0.0/16": true, "ip6:2001:db8:1::/48": true, "ip6:2001:db9::/48": false, "mx": false, "ip4:198.51.3.4": true,
	} {
		if got := has(heededTerms(policy), term); got != want {
			t.Errorf("%s: %v", term, got)
		}
	}
}
