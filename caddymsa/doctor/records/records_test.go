package records

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/dnscheck"
	"github.com/caddy-msa/caddy-msa/caddymsa/dnscheck/dnstest"
	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
)

const key = "v=DKIM1; k=ed25519; p=MTIz"

// right are the records of a domain that has all as it should be.
var right = map[string]string{
	"host": "msa.example.org. A 192.0.2.1", "submissions": "_submissions._tcp.example.org. SRV 0 1 465 MSA.example.org.", "submission": "_submission._tcp.example.org. SRV 0 1 587 msa.example.org.",
	"dkim": `s1._domainkey.example.org. TXT "` + key + `"`, "spf": `example.org. TXT "v=spf1 ip4:192.0.2.0/24 -all"`, "mx": "example.org. MX 10 mx.example.org.", "ptr": "7.2.0.192.in-addr.arpa. PTR out.example.org.", "ptr's name": "out.example.org. A 192.0.2.7",
	"sts": `_mta-sts.example.org. TXT "v=STSv1; id=1"`,
}

// greeter has every address greet alike.
func greeter(line string) func(context.Context, string, string) (net.Conn, error) {
	return func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		go func() {
			_, _ = io.WriteString(server, line+"\r\n")
			_, _ = io.Copy(io.Discard, server)
		}()
		return client, nil
	}
}

type policy string

func (p policy) RoundTrip(*http.Request) (*http.Response, error) {
	if p == "" {
		return nil, errors.New("connection refused")
	}
	return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"text/plain"}}, Body: io.NopCloser(strings.NewReader(string(p)))}, nil
}

// changed is a page that says when it was changed.
type changed struct {
	policy
	at string
}

func (c changed) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := c.policy.RoundTrip(r)
	if err == nil {
		answer.Header.Set("Last-Modified", c.at)
	}
	return answer, err
}

// notAt has nobody listen on a port.
func notAt(port string) func(*Zone) {
	return func(z *Zone) {
		right := z.Dial
		z.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			if strings.HasSuffix(address, port) {
				return nil, errors.New("connection refused")
			}
			return right(ctx, network, address)
		}
	}
}

// page has the domain's policy be another one.
func page(p http.RoundTripper) func(*Zone) { return func(z *Zone) { z.Web.Transport = p } }

// but is the policy with something else in it.
func but(old, new string) func(*Zone) {
	return page(policy(strings.Replace(string(enforce), old, new, 1)))
}

// sts is the record with another id.
func sts(id string) []string { return []string{`_mta-sts.example.org. TXT "v=STSv1; id=` + id + `"`} }

const enforce = policy("version: STSv1\nmode: enforce\nmx: mx.example.org\nmax_age: 86400\n")

// zone has the right records, but for one.
func zone(t *testing.T, name string, instead ...string) *Zone {
	t.Helper()
	records := instead
	for n, r := range right {
		if n != name {
			records = append(records, r)
		}
	}
	resolver, err := dnscheck.New(dnstest.Serve(t, records...))
	if err != nil {
		t.Fatal(err)
	}
	return &Zone{Resolver: resolver, Hostname: "msa.example.org", Ports: []Port{{587, false}, {465, true}}, Domains: []string{"example.org"}, Keys: []Key{{"example.org", "s1", key}},
		Egress: []netip.Addr{netip.MustParseAddr("192.0.2.7")}, Direct: true, Dial: greeter("220 msa.example.org ESMTP"), Web: &http.Client{Transport: enforce}}
}

func TestFaults(t *testing.T) {
	for name, c := range map[string]struct {
		record  string
		instead []string
		change  func(*Zone)
		check   string
		level   doctor.Level
		text    string
	}{
		"no address":     {"host", nil, nil, "dns", doctor.Wrong, "has no address"},
		"another server": {"", nil, func(z *Zone) { z.Dial = greeter("220 old.example.org ESMTP") }, "dns", doctor.Wrong, "leads to another server, 192.0.2.1:587"},
		"IPv6 is broken": {"", []string{"msa.example.org. AAAA 2001:db8::1"}, func(z *Zone) {
			right := z.Dial
			z.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
				if strings.HasPrefix(address, "[") {
					return nil, errors.New("network is unreachable")
				}
				return right(ctx, network, address)
			}
		}, "dns", doctor.Warn, "[2001:db8::1]:587, which the name leads to, cannot be reached"},
		"no PTR":                {"ptr", nil, nil, "ptr", doctor.Warn, "it has no name"},
		"PTR elsewhere":         {"ptr's name", nil, nil, "ptr", doctor.Warn, `its name "out.example.org" does not have the address`},
		"no domain":             {"", nil, func(z *Zone) { z.Domains = nil }, "dns", doctor.Skipped, "no domain is known"},
		"no SRV":                {"submissions", nil, nil, "srv", doctor.Warn, "do not find the server"},
		"SRV elsewhere":         {"submission", []string{"_submission._tcp.example.org. SRV 0 1 587 old.example.org."}, nil, "srv", doctor.Wrong, "to old.example.org, port 587"},
		"SRV's port":            {"submissions", []string{"_submissions._tcp.example.org. SRV 0 1 4650 msa.example.org."}, notAt(":4650"), "srv", doctor.Wrong, "port 4650"},
		"SRV's port, published": {"submissions", []string{"_submissions._tcp.example.org. SRV 0 1 4650 msa.example.org."}, nil, "srv", doctor.OK, "port 4650"},
		"SRV's port, of another": {"submission", []string{"_submission._tcp.example.org. SRV 0 1 5870 msa.example.org."}, func(z *Zone) {
			right := z.Dial
			z.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
				if strings.HasSuffix(address, ":5870") {
					return greeter("220 old.example.org ESMTP")(ctx, network, address)
				}
				return right(ctx, network, address)
			}
		}, "srv", doctor.Wrong, "port 5870"},
		"SRV of no port":              {"", nil, func(z *Zone) { z.Ports = z.Ports[:1] }, "srv", doctor.Wrong, "port 465"},
		"no DKIM record":              {"dkim", nil, nil, "dkim", doctor.Wrong, "there is no such record"},
		"another DKIM key":            {"dkim", []string{`s1._domainkey.example.org. TXT "v=DKIM1; k=ed25519; p=NDU2"`}, nil, "dkim", doctor.Wrong, "another key"},
		"DKIM key revoked":            {"dkim", []string{`s1._domainkey.example.org. TXT "v=DKIM1; k=ed25519; p="`}, nil, "dkim", doctor.Wrong, "was revoked"},
		"two DKIM records":            {"", []string{`s1._domainkey.example.org. TXT "v=DKIM1; p=NDU2"`}, nil, "dkim", doctor.Wrong, "there are 2 records"},
		"no DKIM at all":              {"dkim", []string{`s1._domainkey.example.org. TXT "hello"`}, nil, "dkim", doctor.Wrong, "not a DKIM record"},
		"no SPF":                      {"spf", nil, nil, "spf", doctor.Warn, "no SPF record"},
		"two SPF":                     {"", []string{`example.org. TXT "v=spf1 -all"`}, nil, "spf", doctor.Wrong, "there are 2 records"},
		"SPF fails":                   {"spf", []string{`example.org. TXT "v=spf1 ip4:198.51.100.1 -all"`}, nil, "spf", doctor.Wrong, "from 192.0.2.7"},
		"SPF softly":                  {"spf", []string{`example.org. TXT "v=spf1 ~all"`}, nil, "spf", doctor.Warn, "does not allow 192.0.2.7 (softfail)"},
		"SPF is wrong":                {"spf", []string{`example.org. TXT "v=spf1 nonsense"`}, nil, "spf", doctor.Wrong, "cannot evaluate"},
		"egress unknown":              {"", nil, func(z *Zone) { z.Egress = nil }, "spf", doctor.Skipped, "is not known"},
		"no MTA-STS":                  {"sts", nil, nil, "mta-sts", doctor.Skipped, "there is no policy"},
		"MTA-STS, page but no record": {"sts", []string{"mta-sts.example.org. A 192.0.2.3"}, nil, "mta-sts", doctor.Warn, "no record says so"},
		"MTA-STS, two records":        {"", sts("2"), nil, "mta-sts", doctor.Wrong, "there are 2 policies"},
		"MTA-STS, malformed record":   {"sts", []string{`_mta-sts.example.org. TXT "v=STSV1; id=1"`}, nil, "mta-sts", doctor.Wrong, "does not begin with v=STSv1;"},
		"MTA-STS, malformed id":       {"sts", sts("2026-11-29"), nil, "mta-sts", doctor.Wrong, "letters and digits"},
		"MTA-STS, no page":            {"", nil, page(policy("")), "mta-sts", doctor.Wrong, "connection refused"},
		"MTA-STS's MX":                {"mx", []string{"example.org. MX 10 new.example.org."}, nil, "mta-sts", doctor.Wrong, "new.example.org"},
		"MTA-STS's MX, tested":        {"mx", []string{"example.org. MX 10 new.example.org."}, but("enforce", "testing"), "mta-sts", doctor.Warn, "only tested yet"},
		"MTA-STS without MX":          {"mx", nil, nil, "mta-sts", doctor.Wrong, "senders do not deliver to example.org"},
		"MTA-STS is tested":           {"", nil, but("enforce", "testing"), "mta-sts", doctor.Warn, "its mode is testing"},
		"MTA-STS is none":             {"", nil, but("enforce", "none"), "mta-sts", doctor.Warn, "its mode is none"},
		"MTA-STS's age is short":      {"", nil, but("86400", "3600"), "mta-sts", doctor.Warn, "only for 1h0m0s"},
		"MTA-STS's age is long":       {"", nil, but("86400", "31557601"), "mta-sts", doctor.Warn, "31557600"},
		"MTA-STS's age is no number":  {"", nil, but("86400", "1d"), "mta-sts", doctor.Wrong, "not a number"},
		"MTA-STS's id is ours":        {"sts", sts(dnscheck.PolicyID("before")), nil, "mta-sts", doctor.Warn, "is that of another text"},
		"MTA-STS's id is old":         {"sts", sts("20260101T000000Z"), page(changed{enforce, "Mon, 02 Mar 2026 10:00:00 GMT"}), "mta-sts", doctor.Warn, "after the time that the id 20260101T000000Z names"},
		"MTA-STS's page is gone":      {"sts", []string{"mta-sts.example.org. A 192.0.2.3"}, page(policy("")), "mta-sts", doctor.Skipped, "there is no policy"},
		"MTA-STS, DNS does not say":   {"", nil, func(z *Zone) { z.Domains = []string{"example.broken"} }, "mta-sts", doctor.Warn, "SERVFAIL"},
		"DNS does not say":            {"", nil, func(z *Zone) { z.Domains = []string{"example.broken"} }, "spf", doctor.Warn, "SERVFAIL"},
	} {
		z := zone(t, c.record, c.instead...)
		if c.change != nil {
			c.change(z)
		}
		found := doctor.Run(t.Context(), z.Checks()...)
		if !slices.ContainsFunc(found, func(f doctor.Finding) bool {
			return f.Check == c.check && f.Level == c.level && strings.Contains(f.Text, c.text)
		}) {
			t.Errorf("%s: no %s %s: %q in %+v", name, c.level, c.check, c.text, found)
		}
		for _, f := range found {
			if f.Level != doctor.OK && f.Remedy == "" {
				t.Errorf("%s: no remedy: %+v", name, f)
			}
		}
	}
}

// Of ids that name no time, or one that is not before the page's, nothing is said; nor of a domain that takes no mail.
func TestMTASTSRight(t *testing.T) {
	const march = "Mon, 02 Mar 2026 10:00:00 GMT"
	for name, c := range map[string]struct {
		record  string
		instead []string
		change  func(*Zone)
	}{
		"ours":     {"sts", sts(dnscheck.PolicyID(strings.ReplaceAll(string(enforce), "\n", "\r\n"))), nil},
		"the day":  {"sts", sts("20260302"), page(changed{enforce, march})},
		"zone":     {"sts", sts("20260302T0000Z"), page(changed{enforce, march})},
		"seconds":  {"sts", sts("1772445600"), page(changed{enforce, march})},
		"later":    {"sts", sts("20260401000000Z"), page(changed{enforce, march})},
		"a number": {"sts", sts("17"), page(changed{enforce, march})},
		"a word":   {"sts", sts("20269999"), page(changed{enforce, march})},
		"no date":  {"sts", sts("20200101"), page(changed{enforce, "yesterday"})},
		"null MX":  {"mx", []string{"example.org. MX 0 ."}, nil},
	} {
		z := zone(t, c.record, c.instead...)
		if c.change != nil {
			c.change(z)
		}
		for _, f := range z.mtaSTS(t.Context(), "example.org") {
			if f.Level != doctor.OK {
				t.Errorf("%s: %+v", name, f)
			}
		}
	}
}

func TestIDTime(t *testing.T) {
	for id, want := range map[string]string{
		"20260302": "2026-03-03T00:00:00Z", "2026030207": "2026-03-03T00:00:00Z", "202603021015": "2026-03-02T10:16:00Z", "20260302101530": "2026-03-02T10:15:30Z", "20260302T101530Z": "2026-03-02T10:15:30Z", "20260302101530Z": "2026-03-02T10:15:30Z",
		"1772445600": "2026-03-02T10:00:00Z", "1772445600123": "2026-03-02T10:00:00Z", "1": "", "abc": "", "99990101": "", "20150101": "", "20260302101530123456": "2026-03-02T10:15:30Z",
	} {
		at, ok := idTime(id)
		if got := at.UTC().Format(time.RFC3339); ok != (want != "") || ok && got != want {
			t.Errorf("%s: %s %v, want %s", id, got, ok, want)
		}
	}
}

func TestRight(t *testing.T) {
	for _, f := range doctor.Run(t.Context(), zone(t, "").Checks()...) {
		if f.Level != doctor.OK {
			t.Errorf("%+v", f)
		}
	}
}

// Policies are fetched from where the resolver says.
func TestDial(t *testing.T) {
	z := zone(t, "", "mta-sts.example.org. A 127.0.0.1")
	z.Web = nil
	z.Checks()
	conn, err := z.dial(t.Context(), "tcp", "mta-sts.example.org:1")
	if err == nil {
		_ = conn.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Error(err)
	}
	if _, err := z.dial(t.Context(), "tcp", "nowhere.example.org:1"); !errors.Is(err, dnscheck.ErrNotFound) {
		t.Error(err)
	}
}
