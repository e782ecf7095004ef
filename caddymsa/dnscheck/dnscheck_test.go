package dnscheck

import (
	"errors"
	"io"
	"net/http"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/caddy-msa/caddy-msa/caddymsa/dnscheck/dnstest"
)

func resolver(t *testing.T, records ...string) *Resolver {
	t.Helper()
	r, err := New(dnstest.Serve(t, records...))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Records are found behind aliases and by TCP; that there are none is told from not knowing.
func TestRecords(t *testing.T) {
	long := strings.Repeat("x", 250)
	r := resolver(t, "a.example. CNAME b.example.", "b.example. CNAME c.example.", `c.example. TXT "one" "two"`, "c.example. A 192.0.2.1", "c.example. AAAA 2001:db8::1",
		"loop.example. CNAME loop.example.", "_submissions._tcp.example. SRV 20 1 465 two.example.", "_submissions._tcp.example. SRV 10 1 465 one.example.",
		"example. MX 20 b.example.", "example. MX 10 a.example.", "_25._tcp.mx.example. TLSA 3 1 1 00",
		`big.example. TXT "`+long+`" "`+long+`"`, `big.example. TXT "1`+long+`" "`+long+`"`, `big.example. TXT "2`+long+`" "`+long+`"`)
	ctx := t.Context()
	if texts, err := r.TXT(ctx, "A.example"); err != nil || !reflect.DeepEqual(texts, []string{"onetwo"}) {
		t.Errorf("%q, %v", texts, err)
	}
	if texts, err := r.TXT(ctx, "big.example"); err != nil || len(texts) != 3 {
		t.Errorf("%d, %v", len(texts), err)
	}
	if all, err := r.Addresses(ctx, "a.example"); err != nil || len(all) != 2 {
		t.Errorf("%v, %v", all, err)
	}
	if all, err := r.SRV(ctx, "_submissions._tcp.example"); err != nil || len(all) != 2 || all[0].Target != "one.example." {
		t.Errorf("%v, %v", all, err)
	}
	if all, err := r.MX(ctx, "example"); err != nil || len(all) != 2 || all[0].Mx != "a.example." {
		t.Errorf("%v, %v", all, err)
	}
	if all, err := r.TLSA(ctx, "_25._tcp.mx.example"); err != nil || len(all) != 1 {
		t.Errorf("%v, %v", all, err)
	}
	for name, missing := range map[string]bool{"none.example": true, "c.example": true, "x.broken": false, "loop.example": false, strings.Repeat("x", 64) + ".example": false} {
		if _, err := r.Records(ctx, name, dns.TypeMX); err == nil || errors.Is(err, ErrNotFound) != missing {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := r.Addresses(ctx, "x.broken"); err == nil || errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
}

// RFC 7208, by a library on this resolver.
func TestSPF(t *testing.T) {
	r := resolver(t, `a.example. TXT "v=spf1 ip4:192.0.2.0/24 include:b.example -all"`, `b.example. TXT "v=spf1 mx ptr a:c.example ~all"`,
		"b.example. MX 1 mx.example.", "mx.example. A 198.51.100.1", "c.example. AAAA 2001:db8::1", `bad.example. TXT "v=spf1 nonsense"`, `none.example. TXT "hello"`)
	for _, c := range []struct{ domain, ip, want string }{
		{"a.example", "192.0.2.9", SPFPass}, {"a.example", "198.51.100.1", SPFPass}, {"a.example", "2001:db8::1", SPFPass}, {"a.example", "203.0.113.1", SPFFail},
		{"b.example", "203.0.113.1", SPFSoft}, {"none.example", "192.0.2.9", SPFNone}, {"gone.example", "192.0.2.9", SPFNone}, {"bad.example", "192.0.2.9", "permerror"}, {"x.broken", "192.0.2.9", "temperror"},
	} {
		if got, err := r.SPF(t.Context(), c.domain, netip.MustParseAddr(c.ip)); got != c.want {
			t.Errorf("%s from %s: %s, %v; want %s", c.domain, c.ip, got, err, c.want)
		}
	}
	if all, err := r.SPFRecord(t.Context(), "a.example"); err != nil || len(all) != 1 {
		t.Errorf("%q, %v", all, err)
	}
}

func TestDKIMKey(t *testing.T) {
	for record, want := range map[string]string{
		"v=DKIM1; k=ed25519; p=MTIz": "ed25519 MTIz true", "p=MT Iz;": "rsa MTIz true", "v=DKIM1; p=": "rsa  true", "v=DKIM1": "  false", "p=MTIz; v=DKIM1": "  false",
		"hello": "  false", "p=*": "  false", "h=sha1:sha256; s=tlsrpt:email; t=y; n=a note; p=MTIz": "rsa MTIz true", "s=*;p=MTIz": "rsa MTIz true",
		"h=sha1; p=MTIz": "  false", "s=tlsrpt; p=MTIz": "  false",
	} {
		kind, key, ok := DKIMKey(record)
		if !ok {
			kind, key = "", ""
		}
		have := kind + " " + key + " false"
		if ok {
			have = kind + " " + key + " true"
		}
		if have != want {
			t.Errorf("%q: %q, want %q", record, have, want)
		}
	}
}

// pages answers in the place of the web.
type pages map[string]*http.Response

func (p pages) RoundTrip(r *http.Request) (*http.Response, error) {
	if answer := p[r.URL.String()]; answer != nil {
		return answer, nil
	}
	return nil, errors.New("connection refused")
}

func page(status int, kind, text string) *http.Response {
	return &http.Response{StatusCode: status, Status: http.StatusText(status), Header: http.Header{"Content-Type": {kind}}, Body: io.NopCloser(strings.NewReader(text))}
}

// RFC 8461.
func TestMTASTS(t *testing.T) {
	const good = "version: STSv1\r\nmode: enforce\r\nmx: mx.a.example\r\nmx: *.b.example\r\nmax_age: 604800\r\n"
	for name, c := range map[string]struct {
		records []string
		page    *http.Response
		want    string
	}{
		"good":    {[]string{`_mta-sts.a.example. TXT "v=STSv1; id=1;"`}, page(200, "text/plain; charset=utf-8", good), ""},
		"none":    {nil, nil, ErrNotFound.Error()},
		"two":     {[]string{`_mta-sts.a.example. TXT "v=STSv1; id=1"`, `_mta-sts.a.example. TXT "v=STSv1; id=2"`}, nil, "there are 2"},
		"no id":   {[]string{`_mta-sts.a.example. TXT "v=STSv1;"`}, nil, "has no id"},
		"no web":  {[]string{`_mta-sts.a.example. TXT "v=STSv1; id=1"`}, nil, "connection refused"},
		"moved":   {[]string{`_mta-sts.a.example. TXT "v=STSv1; id=1"`}, page(301, "text/plain", good), "Moved"},
		"html":    {[]string{`_mta-sts.a.example. TXT "v=STSv1; id=1"`}, page(200, "text/html", good), "text/html"},
		"no mx":   {[]string{`_mta-sts.a.example. TXT "v=STSv1; id=1"`}, page(200, "text/plain", "version: STSv1\nmode: enforce\nmax_age: 1\n"), "names no mx"},
		"no mode": {[]string{`_mta-sts.a.example. TXT "v=STSv1; id=1"`}, page(200, "text/plain", "version: STSv1\nmax_age: 1\n"), "mode is"},
		"id":      {[]string{`_mta-sts.a.example. TXT "v=STSv1; id=2026-11-29"`}, nil, "1 to 32 letters and digits"},
		"order":   {[]string{`_mta-sts.a.example. TXT "id=1; v=STSv1"`}, nil, "does not begin with v=STSv1;"},
		"another": {[]string{`_mta-sts.a.example. TXT "v=spf1 -all"`}, nil, ErrNotFound.Error()},
		"twice":   {[]string{`_mta-sts.a.example. TXT "v=STSv1; id=1"`}, page(200, "text/plain", good+"mode: nonsense\nmax_age: x\n"), ""},
		"age":     {[]string{`_mta-sts.a.example. TXT "v=STSv1; id=1"`}, page(200, "text/plain", "version: STSv1\nmode: none\nmax_age: 1 week\n"), "not a number of seconds"},
		"no age":  {[]string{`_mta-sts.a.example. TXT "v=STSv1; id=1"`}, page(200, "text/plain", "version: STSv1\nmode: none\n"), "max_age"},
	} {
		r := resolver(t, c.records...)
		p, err := r.MTASTS(t.Context(), "a.example", &http.Client{Transport: pages{"https://mta-sts.a.example/.well-known/mta-sts.txt": c.page}})
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil && (!p.Covers("MX.a.example.") || !p.Covers("x.b.example") || p.Covers("b.example") || p.Covers("x.y.b.example")) {
			t.Errorf("%s: %+v", name, p)
		}
	}
}

type nowhere struct{}

func (nowhere) RoundTrip(*http.Request) (*http.Response, error) { return nil, ErrNotFound }

// A page whose host has no address is not the lack of a policy.
func TestMTASTSWithoutHost(t *testing.T) {
	r := resolver(t, `_mta-sts.a.example. TXT "v=STSv1; id=1"`)
	if _, err := r.MTASTS(t.Context(), "a.example", &http.Client{Transport: nowhere{}}); err == nil || errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("version: STSv1\nmode: enforce\nmx: a\nmax_age: 1\n", "v=DKIM1; k=rsa; p=MTIz")
	f.Fuzz(func(_ *testing.T, policy, record string) {
		p := new(MTASTS)
		if p.parse(policy) == nil {
			p.Covers("mx.example.org")
		}
		DKIMKey(record)
		tag(record, "id")
	})
}
