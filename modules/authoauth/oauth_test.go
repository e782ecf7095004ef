package authoauth

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/go-jose/go-jose/v4"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
)

// issuer publishes its keys and signs tokens.
type issuer struct {
	*httptest.Server
	key   *ecdsa.PrivateKey
	id    string
	keys  atomic.Int64 // how often they were asked for
	fails atomic.Bool
	// keysFail has no keys, though the configuration is there
	keysFail atomic.Bool
}

func newIssuer(t testing.TB) *issuer {
	t.Helper()
	i := new(issuer)
	i.rotate(t, "first")
	mux := http.NewServeMux()
	mux.HandleFunc(wellKnown, func(w http.ResponseWriter, _ *http.Request) {
		if i.fails.Load() {
			http.Error(w, "down", http.StatusBadGateway)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"issuer": i.URL, "jwks_uri": i.URL + "/keys"})
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		i.keys.Add(1)
		if i.fails.Load() || i.keysFail.Load() {
			http.Error(w, "down", http.StatusBadGateway)
			return
		}
		jwk, _ := json.Marshal(jose.JSONWebKey{Key: i.key.Public(), KeyID: i.id, Algorithm: "ES256", Use: "sig"})
		fmt.Fprintf(w, `{"keys": [{"kty": "unheard-of"}, %s]}`, jwk)
	})
	i.Server = httptest.NewServer(mux)
	t.Cleanup(i.Close)
	return i
}

func (i *issuer) rotate(t testing.TB, id string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	i.key, i.id = key, id
}

// claims are a good token's, with changes; nil takes one out.
func (i *issuer) claims(changes map[string]any) map[string]any {
	c := map[string]any{"iss": i.URL, "aud": []string{"other", "msa"}, "exp": now.Add(time.Hour).Unix(), "iat": now.Unix(), "sub": "42",
		"email": "alice@example.org", "email_verified": true, "scope": "openid mail.send", "groups": []string{"a", "b"}}
	for name, v := range changes {
		c[name] = v
		if v == nil {
			delete(c, name)
		}
	}
	return c
}

func sign(t testing.TB, alg jose.SignatureAlgorithm, key any, id string, claims any) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, (&jose.SignerOptions{}).WithHeader("kid", id))
	if err != nil {
		t.Fatal(err)
	}
	payload, _ := json.Marshal(claims)
	jws, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func (i *issuer) token(t testing.TB, changes map[string]any) string {
	return sign(t, jose.ES256, i.key, i.id, i.claims(changes))
}

var now = time.Unix(2e9, 0)

// provision uses a clock that stands still unless the test turns it.
func provision(t testing.TB, o *OAuth) (*OAuth, error) {
	t.Helper()
	if o.now == nil {
		o.now = func() time.Time { return now }
	}
	o.Timeout = cmp.Or(o.Timeout, conf.Duration(time.Minute)) // a busy machine does not keep the default of 5 seconds
	err := o.Provision(msatest.Context(t))
	t.Cleanup(func() { _ = o.Cleanup() })
	return o, err
}

func backend(t testing.TB, i *issuer) *OAuth {
	t.Helper()
	o, err := provision(t, &OAuth{Issuer: i.URL, Audience: "msa", Scopes: []string{"mail.send"}, AddressesClaim: "addresses", AttributeClaims: []string{"groups"}})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func verify(o *OAuth, user, token string) (caddymsa.Identity, error) {
	return o.VerifyToken(context.Background(), caddymsa.Peer{}, user, token)
}

func TestToken(t *testing.T) {
	i := newIssuer(t)
	o := backend(t, i)
	for name, changes := range map[string]map[string]any{
		"as it is": nil, "aud is a string": {"aud": "msa"}, "scp of Microsoft": {"scope": nil, "scp": "mail.send"}, "scope is a list": {"scope": []string{"mail.send"}},
		"nothing said of verification": {"email_verified": nil}, "addresses": {"addresses": []string{"@example.net", "a@b.example"}},
	} {
		for _, user := range []string{"", "alice@example.org", "alice@EXAMPLE.org"} {
			id, err := verify(o, user, i.token(t, changes))
			if err != nil || id.User != "alice@example.org" || id.Attributes["groups"] != `["a","b"]` {
				t.Errorf("%s, as %q: %+v, %v", name, user, id, err)
			}
			want := 0
			if name == "addresses" {
				want = 2
			}
			if len(id.Addresses) != want {
				t.Errorf("%s: may send as %v", name, id.Addresses)
			}
		}
	}
}

func TestTokenRefused(t *testing.T) {
	i := newIssuer(t)
	o := backend(t, i)
	stranger := newIssuer(t)
	public, err := x509.MarshalPKIXPublicKey(i.key.Public())
	if err != nil {
		t.Fatal(err)
	}
	none := "eyJhbGciOiJub25lIn0." + strings.Split(i.token(t, nil), ".")[1] + "."
	for name, token := range map[string]string{
		"garbage":                      "abc",
		"empty parts":                  "..",
		"alg none":                     none,
		"HMAC with the public key":     sign(t, jose.HS256, public, i.id, i.claims(nil)),
		"another's key of that id":     sign(t, jose.ES256, stranger.key, i.id, i.claims(nil)),
		"another's key":                sign(t, jose.ES256, stranger.key, "other", i.claims(nil)),
		"another issuer":               i.token(t, map[string]any{"iss": stranger.URL}),
		"no issuer":                    i.token(t, map[string]any{"iss": nil}),
		"another audience":             i.token(t, map[string]any{"aud": "other"}),
		"no audience":                  i.token(t, map[string]any{"aud": nil}),
		"expired":                      i.token(t, map[string]any{"exp": now.Add(-time.Second).Unix()}),
		"no end":                       i.token(t, map[string]any{"exp": nil}),
		"not yet":                      i.token(t, map[string]any{"nbf": now.Add(time.Hour).Unix()}),
		"no user":                      i.token(t, map[string]any{"email": nil}),
		"user is a number":             i.token(t, map[string]any{"email": 7}),
		"user with a control":          i.token(t, map[string]any{"email": "a\n@example.org"}),
		"unverified":                   i.token(t, map[string]any{"email_verified": false}),
		"addresses that are not":       i.token(t, map[string]any{"addresses": "not an address"}),
		"a signed list, not an object": sign(t, jose.ES256, i.key, i.id, []int{1}),
	} {
		if id, err := verify(o, "", token); !errors.Is(err, caddymsa.ErrCredentials) {
			t.Errorf("%s: %+v, %v", name, id, err)
		}
	}
	if _, err := verify(o, "bob@example.org", i.token(t, nil)); !errors.Is(err, caddymsa.ErrCredentials) {
		t.Error("alice's token as bob:", err)
	}
	_, err = verify(o, "", i.token(t, map[string]any{"scope": "openid mail.sender"}))
	var r *sasl.TokenRefusal
	if !errors.As(err, &r) || r.Status != "insufficient_scope" || r.Scope != "mail.send" || r.OpenIDConfiguration != i.URL+wellKnown {
		t.Errorf("without the scope: %+v", err)
	}
}

// Keys that strangers make up do not have the issuer asked more than once in a while; a
// new key counts after that.
func TestKeysAreFetchedSeldom(t *testing.T) {
	i := newIssuer(t)
	o := &OAuth{Issuer: i.URL, Audience: "msa"}
	var later atomic.Int64
	o.now = func() time.Time { return now.Add(time.Duration(later.Load())) }
	if _, err := provision(t, o); err != nil {
		t.Fatal(err)
	}
	for n := range 50 {
		token := sign(t, jose.ES256, i.key, fmt.Sprint("made up ", n), i.claims(nil))
		if _, err := verify(o, "", token); !errors.Is(err, caddymsa.ErrCredentials) {
			t.Fatal(err)
		}
	}
	i.rotate(t, "second")
	if _, err := verify(o, "", i.token(t, nil)); !errors.Is(err, caddymsa.ErrCredentials) {
		t.Error("a key that is not known yet:", err)
	}
	if n := i.keys.Load(); n != 1 {
		t.Errorf("keys were fetched %d times", n)
	}
	later.Store(int64(refetch))
	if _, err := verify(o, "", i.token(t, nil)); err != nil || i.keys.Load() != 2 {
		t.Error("the new key:", err, i.keys.Load())
	}
}

// While the issuer is down nobody can tell, except of keys that are known.
func TestIssuerDown(t *testing.T) {
	i := newIssuer(t)
	i.fails.Store(true)
	o, later := withClock(t, i)
	token := i.token(t, nil)
	if _, err := verify(o, "", token); err == nil || errors.Is(err, caddymsa.ErrCredentials) {
		t.Error("the issuer is down:", err)
	}
	i.fails.Store(false)
	later.Store(int64(retry))
	if _, err := verify(o, "", token); err != nil {
		t.Error("the issuer is up again:", err)
	}
	i.Close()
	if _, err := verify(o, "", token); err != nil {
		t.Error("a known key needs no issuer:", err)
	}
}

// While the issuer does not answer, it is not asked about every token that somebody makes up.
func TestIssuerDownIsAskedSeldom(t *testing.T) {
	i := newIssuer(t)
	o, _ := withClock(t, i)
	i.keysFail.Store(true)
	for n := range 50 {
		token := sign(t, jose.ES256, i.key, fmt.Sprint("made up ", n), i.claims(nil))
		if _, err := verify(o, "", token); err == nil || errors.Is(err, caddymsa.ErrCredentials) {
			t.Fatal(err)
		}
	}
	if n := i.keys.Load(); n > 2 {
		t.Errorf("keys were asked for %d times", n)
	}
}

// A signature that fails has the keys fetched again: a new one may have the id of the old. A key that the
// issuer has taken back signs for an hour at most.
func TestKeysChange(t *testing.T) {
	i := newIssuer(t)
	o, later := withClock(t, i)
	old := i.token(t, nil)
	if _, err := verify(o, "", old); err != nil {
		t.Fatal(err)
	}
	i.rotate(t, "first") // the same id
	later.Store(int64(refetch))
	if _, err := verify(o, "", i.token(t, nil)); err != nil || i.keys.Load() != 2 {
		t.Errorf("a new key of the same id: %v, fetched %d times", err, i.keys.Load())
	}
	if _, err := verify(o, "", old); !errors.Is(err, caddymsa.ErrCredentials) {
		t.Error("the key that is gone:", err)
	}
	lasting := map[string]any{"exp": now.Add(100 * time.Hour).Unix()}
	current := i.token(t, lasting)
	i.rotate(t, "second")
	if _, err := verify(o, "", current); err != nil {
		t.Error("before the hour is over:", err)
	}
	later.Store(int64(refetch + keep))
	if _, err := verify(o, "", current); !errors.Is(err, caddymsa.ErrCredentials) {
		t.Error("a key that was taken back more than an hour ago:", err)
	}
	if _, err := verify(o, "", i.token(t, lasting)); err != nil {
		t.Error("the key in its place:", err)
	}
	i.keysFail.Store(true)
	later.Store(int64(refetch + 3*keep))
	if _, err := verify(o, "", i.token(t, lasting)); err == nil || errors.Is(err, caddymsa.ErrCredentials) {
		t.Error("keys that nobody has confirmed for hours:", err)
	}
}

// withClock is a backend whose clock goes on by what is stored.
func withClock(t *testing.T, i *issuer) (*OAuth, *atomic.Int64) {
	t.Helper()
	o, later := &OAuth{Issuer: i.URL, Audience: "msa"}, new(atomic.Int64)
	o.now = func() time.Time { return now.Add(time.Duration(later.Load())) }
	if _, err := provision(t, o); err != nil {
		t.Fatal(err)
	}
	return o, later
}

func TestIntrospection(t *testing.T) {
	answer, status := "", 200
	var asked http.Request
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		asked = *r
		w.WriteHeader(status)
		fmt.Fprint(w, answer)
	}))
	defer server.Close()
	o, err := provision(t, &OAuth{Audience: "msa", Introspection: &Introspection{URL: server.URL, ClientID: "a b", ClientSecret: "s:+"}})
	if err != nil {
		t.Fatal(err)
	}
	good := fmt.Sprintf(`"active": true, "aud": "msa", "email": "alice@example.org", "exp": %d`, now.Add(time.Hour).Unix())
	for text, want := range map[string]string{
		"{" + good + "}": "", "{" + good + `, "scope": "x", "extra": {"a": [1]}}`: "",
		`{"active": false}`: "refused", "{}": "refused", `{"active": "true", "aud": "msa", "email": "a@b.example"}`: "refused",
		`{"active": true, "email": "alice@example.org"}`:                                                            "refused", // for whom?
		`{"active": true, "aud": ["other"], "email": "alice@example.org"}`:                                          "refused",
		fmt.Sprintf(`{"active": true, "aud": "msa", "email": "a@b.example", "exp": %d}`, now.Unix()):                "refused",
		fmt.Sprintf(`{"active": true, "aud": "msa", "email": "a@b.example", "nbf": %d}`, now.Add(time.Hour).Unix()): "refused",
		"": "cannot tell", "[]": "cannot tell", "null": "refused", "<html>": "cannot tell", strings.Repeat(" ", maxAnswer) + "{}": "cannot tell",
	} {
		answer = text
		id, err := verify(o, "", "opaque&token")
		got := ""
		switch {
		case errors.Is(err, caddymsa.ErrCredentials):
			got = "refused"
		case err != nil:
			got = "cannot tell"
		case id.User != "alice@example.org":
			got = "somebody else"
		}
		if got != want {
			t.Errorf("%.80s: %s (%v), want %q", text, got, err, want)
		}
	}
	if user, password, _ := asked.BasicAuth(); user != "a+b" || password != "s%3A%2B" || asked.PostForm.Get("token") != "opaque&token" {
		t.Errorf("asked as %s, %s about %q", user, password, asked.PostForm)
	}
	answer = "{" + good + "}"
	for _, status = range []int{401, 403, 404, 500, 302} {
		if _, err := verify(o, "", "t"); err == nil || errors.Is(err, caddymsa.ErrCredentials) || strings.Contains(err.Error(), "s:+") {
			t.Errorf("%d: %v", status, err)
		}
	}
}

// A connection on which nothing comes any more fails one question, and the next has another.
func TestSilentConnection(t *testing.T) {
	var silent atomic.Value // the client's address of the first
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !silent.CompareAndSwap(nil, r.RemoteAddr) && silent.Load() == r.RemoteAddr {
			_ = r.ParseForm() // to see the end
			<-r.Context().Done()
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"active": true, "aud": "msa", "email": "alice@example.org"}`)
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	o, err := provision(t, &OAuth{Audience: "msa", Introspection: &Introspection{URL: server.URL, ClientID: "a", ClientSecret: "b"}})
	if err != nil {
		t.Fatal(err)
	}
	o.client = newClient(server.Client().Transport.(*http.Transport).TLSClientConfig)
	for i, ok := range []bool{true, false, true} {
		o.Timeout = conf.Duration(time.Minute)
		if !ok { // it waits in vain
			o.Timeout = conf.Duration(500 * time.Millisecond)
		}
		if _, err := verify(o, "", "token"); (err == nil) != ok {
			t.Errorf("question %d: %v", i, err)
		}
	}
}

func TestConfiguration(t *testing.T) {
	for want, o := range map[string]*OAuth{
		"issuer is required":         {Audience: "a"},
		"audience is required":       {Issuer: "https://issuer.example"},
		"must be https":              {Issuer: "http://issuer.example", Audience: "a"},
		"is not a URL":               {Issuer: "issuer", Audience: "a"},
		"client_secret are required": {Audience: "a", Introspection: &Introspection{URL: "https://i.example"}},
		"timeout":                    {Issuer: "https://issuer.example", Audience: "a", Timeout: -1},
		"ca:":                        {Issuer: "https://issuer.example", Audience: "a", TLSClient: conf.TLSClient{CA: []string{"/no/such/file"}}},
		"NO_SUCH":                    {Issuer: "{env.NO_SUCH_VARIABLE}", Audience: "a"},
	} {
		if _, err := provision(t, o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func TestCaddyfile(t *testing.T) {
	var o OAuth
	err := o.UnmarshalCaddyfile(caddyfile.NewTestDispenser(`oauth https://issuer.example {
		audience msa
		scopes a b
		user_claim sub
		addresses_claim mail
		attribute_claims groups
		introspection {
			client_id id
			client_secret secret
		}
		ca root.pem
		timeout 2s
	}`))
	if err != nil || o.Issuer == "" || o.Audience != "msa" || len(o.Scopes) != 2 || o.UserClaim != "sub" || o.AddressesClaim != "mail" ||
		len(o.AttributeClaims) != 1 || o.Introspection.ClientSecret != "secret" || len(o.CA) != 1 || o.Timeout != conf.Duration(2*time.Second) {
		t.Errorf("%+v, %v", o, err)
	}
	for _, text := range []string{
		"oauth a b", "oauth a {\n audience\n}", "oauth a {\n scopes\n}", "oauth a {\n audiense x\n}", "oauth a {\n timeout soon\n}",
		"oauth a {\n introspection b c\n}", "oauth a {\n introspection {\n id x\n}\n}", "oauth a {\n introspection {\n client_id\n}\n}",
	} {
		if err := new(OAuth).UnmarshalCaddyfile(caddyfile.NewTestDispenser(text)); err == nil {
			t.Errorf("%q: no error", text)
		}
	}
}

// Whatever an authorization server says of a token, only a whole yes is one.
func FuzzClaims(f *testing.F) {
	f.Add(`{"active": true, "aud": "msa", "email": "alice@example.org", "exp": 2000003600, "scope": "a b"}`)
	f.Add(`{"active": true, "aud": ["msa", 7, null], "email": ["x"], "nbf": -1e300}`)
	o := &OAuth{Audience: "msa", UserClaim: "email", AddressesClaim: "addresses", AttributeClaims: []string{"scope"}, now: func() time.Time { return now }}
	i := &introspector{oauth: o}
	f.Fuzz(func(t *testing.T, text string) {
		var c claims
		if json.Unmarshal([]byte(text), &c) != nil || i.check(c) != nil {
			return
		}
		if c["active"] != true {
			t.Errorf("%q counts", text)
		}
		if id, err := o.identity(c); err == nil && (id.User == "" || len(id.User) > 255) {
			t.Errorf("%q is %q", text, id.User)
		}
	})
}

func BenchmarkLogin(b *testing.B) {
	i := newIssuer(b)
	o := backend(b, i)
	token := i.token(b, nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := verify(o, "", token); err != nil {
			b.Fatal(err)
		}
	}
}
