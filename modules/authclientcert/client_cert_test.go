package authclientcert

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
	"github.com/caddy-msa/caddy-msa/caddymsa/names"
)

func provision(t *testing.T, c *ClientCert) (*ClientCert, error) {
	t.Helper()
	err := c.Provision(msatest.Context(t))
	t.Cleanup(func() { _ = c.Cleanup() })
	return c, err
}

func mapFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "clients")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// scanner is a certificate with a name of every kind.
var scanner = &x509.Certificate{
	Raw:            []byte("raw"),
	Subject:        pkix.Name{CommonName: "scanner-7", SerialNumber: "00000001234567890000", Organization: []string{"Example BV"}},
	EmailAddresses: []string{"Scanner@Example.org", "*@example.org", "second@example.org"},
	DNSNames:       []string{"Scanner.Example.org"},
	URIs:           []*url.URL{{Scheme: "spiffe", Host: "example.org", Path: "/scanner"}},
}

func verified(cert *x509.Certificate) *tls.ConnectionState {
	return &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{cert}}}
}

func address(t *testing.T, s string) mailaddr.Address {
	t.Helper()
	a, err := mailaddr.Parse(s, false)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// without a map the certificate speaks for itself, and for nobody else at its domain.
func TestWithoutMap(t *testing.T) {
	c, err := provision(t, new(ClientCert))
	if err != nil {
		t.Fatal(err)
	}
	id, err := c.MapCertificate(context.Background(), caddymsa.Peer{}, verified(scanner))
	if err != nil || id.User != "Scanner@example.org" {
		t.Fatal(id, err)
	}
	for a, want := range map[string]bool{"Scanner@example.org": true, "second@example.org": true, "boss@example.org": false} {
		if id.MaySendAs(address(t, a)) != want {
			t.Errorf("may send as %s: %t", a, !want)
		}
	}
	if c.Serves(caddymsa.CapLookup) {
		t.Error("a user can be looked up though there is no map")
	}
	for name, state := range map[string]*tls.ConnectionState{
		"not verified":      {PeerCertificates: []*x509.Certificate{scanner}},
		"no name":           verified(&x509.Certificate{Subject: pkix.Name{CommonName: "x"}}),
		"control character": verified(&x509.Certificate{EmailAddresses: []string{"a\x00@example.org"}}),
	} {
		if _, err := c.MapCertificate(context.Background(), caddymsa.Peer{}, state); !errors.Is(err, caddymsa.ErrCredentials) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestMap(t *testing.T) {
	for _, name := range []string{
		"email:Scanner@EXAMPLE.org", "dns:scanner.example.ORG", "uri:spiffe://example.org/scanner", "cn:scanner-7", "serial_number:00000001234567890000",
		`"subject:SERIALNUMBER=00000001234567890000,CN=scanner-7,O=Example BV"`,
		"sha256:" + strings.ToUpper(namesOf(scanner, "sha256")[0]),
	} {
		c, err := provision(t, &ClientCert{Map: mapFile(t, "# who is who\n"+name+" scanner @devices.example.org # here\n\ncn:other other\n")})
		if err != nil {
			t.Fatal(err)
		}
		id, err := c.MapCertificate(context.Background(), caddymsa.Peer{}, verified(scanner))
		if err != nil || id.User != "scanner" || !id.MaySendAs(address(t, "any@devices.example.org")) {
			t.Errorf("%s: %+v, %v", name, id, err)
		}
		again, err := c.Lookup(context.Background(), caddymsa.Peer{}, "scanner")
		if err != nil || again.Fingerprint != id.Fingerprint || !c.Serves(caddymsa.CapLookup) {
			t.Errorf("%s: looked up: %+v, %v", name, again, err)
		}
		if _, err := c.Lookup(context.Background(), caddymsa.Peer{}, "nobody"); !errors.Is(err, caddymsa.ErrCredentials) {
			t.Error(err)
		}
	}
}

// Names fold: the certificate's, the map's and the user's.
func TestCase(t *testing.T) {
	const text = "cn:SCANNER-7 Scanner a@example.org\ncn:other scanner b@example.org\n"
	for c, want := range map[names.Case]bool{names.Folded: true, names.Exact: false} {
		b, err := provision(t, &ClientCert{Map: mapFile(t, text), Case: c})
		if err != nil {
			t.Fatal(err)
		}
		id, err := b.MapCertificate(t.Context(), caddymsa.Peer{}, verified(scanner))
		if want != (err == nil) || want && (id.User != "Scanner" || len(id.Addresses) != 2) || !want && !errors.Is(err, caddymsa.ErrUnknownUser) {
			t.Errorf("%q: %+v, %v", c, id, err)
		}
		if _, err := b.Lookup(t.Context(), caddymsa.Peer{}, "SCANNER"); want != (err == nil) {
			t.Errorf("%q: %v", c, err)
		}
	}
}

//
func TestConformance(t *testing.T) {
	stranger := &x509.Certificate{Subject: pkix.Name{CommonName: "stranger"}}
	for user, c := range map[string]*ClientCert{"Scanner@example.org": {}, "scanner": {Map: mapFile(t, "cn:scanner-7 scanner\n")}} {
		if _, err := provision(t, c); err != nil {
			t.Fatal(err)
		}
		msatest.Certificates(t, c, user, scanner, stranger)
	}
}

// Who is not in the map is refused, and who was taken out does not stand any more; a broken
// map leaves the old one in place.
func TestMapChanges(t *testing.T) {
	path := mapFile(t, "cn:scanner-7 scanner\ncn:scanner-8 scanner\ncn:other other\n")
	c, err := provision(t, &ClientCert{Map: path, Identity: []string{"cn"}})
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	before, err := c.MapCertificate(ctx, caddymsa.Peer{}, verified(scanner))
	if err != nil {
		t.Fatal(err)
	}
	revision := c.Revision()
	if err := os.WriteFile(path, []byte("cn:scanner-8 scanner\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := c.Reload(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := c.MapCertificate(ctx, caddymsa.Peer{}, verified(scanner)); !errors.Is(err, caddymsa.ErrCredentials) {
		t.Error("a certificate that is not in the map:", err)
	}
	if after, err := c.Lookup(ctx, caddymsa.Peer{}, "scanner"); err != nil || after.Fingerprint == before.Fingerprint || c.Revision() == revision {
		t.Error("the open session of a certificate that was taken out stands:", err)
	}
	if err := os.WriteFile(path, []byte("nonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := c.Reload(ctx); err == nil || !strings.Contains(err.Error(), "line 1") {
		t.Error("a broken map:", err)
	}
	if _, err := c.Lookup(ctx, caddymsa.Peer{}, "scanner"); err != nil {
		t.Error("a broken map took the old one away:", err)
	}
}

func TestBadConfiguration(t *testing.T) {
	for want, c := range map[string]*ClientCert{
		"is not known":       {Identity: []string{"name"}},
		"no such file":       {Map: "/no/such/file"},
		"a user is missing":  {Map: mapFile(t, "\n\ncn:x\n")},
		"specified twice":    {Map: mapFile(t, "cn:x a\ncn:X b\n")},
		"line 3":             {Map: mapFile(t, "cn:x a\n# b\ncn:y b not@@address\n")},
		"not a name of a ce": {Map: mapFile(t, "name:x a\n")},
	} {
		if _, err := provision(t, c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if _, err := provision(t, &ClientCert{Map: mapFile(t, "")}); err != nil {
		t.Error("an empty map:", err)
	}
}

func TestCaddyfile(t *testing.T) {
	for text, ok := range map[string]bool{
		"client_cert": true, "client_cert {\n identity dns cn\n map clients\n case exact\n}": true, "client_cert {\n case any\n}": false,
		"client_cert x": false, "client_cert {\n identity\n}": false, "client_cert {\n map a b\n}": false, "client_cert {\n mapp a\n}": false,
	} {
		if err := new(ClientCert).UnmarshalCaddyfile(caddyfile.NewTestDispenser(text)); (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func FuzzMap(f *testing.F) {
	f.Add("cn:x a @example.org\n\"subject:CN=a b\" b # c\n")
	f.Fuzz(func(t *testing.T, text string) {
		table, err := parseTable([]byte(text), names.Folded)
		if err != nil {
			return
		}
		for k, user := range table.users {
			if k == "" || user == "" || table.known[names.Fold(user)] == nil {
				t.Errorf("%q: %q is %q", text, k, user)
			}
		}
	})
}
