package authoauth

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// Introspection is how to ask the authorization server about tokens.
type Introspection struct {
	// URL of the introspection endpoint. Default: the one that the issuer publishes.
	URL string `json:"url,omitempty"`
	// ClientID and ClientSecret of this server there (RFC 6749 section 2.3.1). Required.
	// Placeholders such as {env.SECRET} and {file./run/secret} are resolved when the
	// configuration is loaded.
	ClientID     string `json:"client_id,omitempty"`
	ClientSecret string `json:"client_secret,omitempty"`

	secret string // ClientSecret without placeholders
}

// resolve fills in placeholders and defaults, and checks what is there.
func (o *OAuth) resolve() error {
	r := caddy.NewReplacer()
	for _, field := range []*string{&o.Issuer, &o.Audience, &o.CA} {
		s, err := r.ReplaceOrErr(*field, true, true)
		if err != nil {
			return err
		}
		*field = s
	}
	if o.UserClaim == "" {
		o.UserClaim = "email"
	}
	if o.Timeout == 0 {
		o.Timeout = caddy.Duration(5 * time.Second)
	}
	switch {
	case o.Timeout < 0:
		return errors.New("timeout: must not be negative")
	case o.Audience == "":
		return errors.New("audience is required: what the authorization server calls this service, else tokens for any other service would count here")
	case o.Issuer == "" && (o.Introspection == nil || o.Introspection.URL == ""):
		return errors.New("issuer is required, as in issuer https://login.example.org")
	}
	if o.Issuer != "" {
		if err := checkURL(o.Issuer); err != nil {
			return fmt.Errorf("issuer: %w", err)
		}
	}
	if o.Introspection != nil {
		if err := o.Introspection.resolve(r); err != nil {
			return fmt.Errorf("introspection: %w", err)
		}
	}
	return nil
}

func (i *Introspection) resolve(r *caddy.Replacer) (err error) {
	if i.URL, err = r.ReplaceOrErr(i.URL, true, true); err != nil {
		return err
	}
	if i.secret, err = r.ReplaceOrErr(i.ClientSecret, true, true); err != nil {
		return err
	}
	if i.ClientID == "" || i.secret == "" {
		return errors.New("client_id and client_secret are required: the authorization server does not tell strangers about tokens")
	}
	if i.URL == "" {
		return nil
	}
	return checkURL(i.URL)
}

// checkURL wants https, since tokens and keys go over it; on this machine http will do.
func checkURL(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" {
		return fmt.Errorf("%q is no URL", s)
	}
	if u.Scheme == "https" || u.Scheme == "http" && isLoopback(u.Hostname()) {
		return nil
	}
	return fmt.Errorf("%s: must be https, or on this machine", s)
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// newClient follows no redirects: what is asked has a secret in it, and what is answered counts.
func newClient(ca string) (*http.Client, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate in PEM", ca)
		}
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = config
	transport.MaxConnsPerHost = 32
	transport.MaxIdleConnsPerHost = 4
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// UnmarshalCaddyfile sets up the backend from Caddyfile tokens. Syntax:
//
//	oauth [<issuer>] {
//		audience         <audience>
//		scopes           <scope> ...
//		user_claim       <claim>
//		addresses_claim  <claim>
//		attribute_claims <claim> ...
//		introspection    [<url>] {
//			client_id     <id>
//			client_secret <secret>
//		}
//		ca               <file>
//		timeout          <duration>
//	}
func (o *OAuth) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the backend's name
	if d.NextArg() {
		o.Issuer = d.Val()
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	words := map[string]*string{"audience": &o.Audience, "user_claim": &o.UserClaim, "addresses_claim": &o.AddressesClaim, "ca": &o.CA}
	lists := map[string]*[]string{"scopes": &o.Scopes, "attribute_claims": &o.AttributeClaims}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		switch {
		case words[name] != nil:
			if !d.AllArgs(words[name]) {
				return d.ArgErr()
			}
		case lists[name] != nil:
			if *lists[name] = d.RemainingArgs(); len(*lists[name]) == 0 {
				return d.ArgErr()
			}
		case name == "timeout":
			var arg string
			if !d.AllArgs(&arg) {
				return d.ArgErr()
			}
			timeout, err := caddy.ParseDuration(arg)
			if err != nil || timeout <= 0 {
				return d.Errf("timeout: %q is not a duration above 0", arg)
			}
			o.Timeout = caddy.Duration(timeout)
		case name == "introspection":
			o.Introspection = new(Introspection)
			if err := o.Introspection.unmarshal(d); err != nil {
				return err
			}
		default:
			return d.Errf("unknown setting %q; there are audience, scopes, user_claim, addresses_claim, attribute_claims, introspection, ca and timeout", name)
		}
	}
	return nil
}

func (i *Introspection) unmarshal(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		i.URL = d.Val()
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	words := map[string]*string{"client_id": &i.ClientID, "client_secret": &i.ClientSecret}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		into := words[d.Val()]
		if into == nil {
			return d.Errf("introspection: unknown setting %q; there are client_id and client_secret", d.Val())
		}
		if !d.AllArgs(into) {
			return d.ArgErr()
		}
	}
	return nil
}

// foldDomain makes addresses alike whose domains differ in case only.
func foldDomain(user string) string {
	if i := strings.LastIndexByte(user, '@'); i >= 0 {
		return user[:i] + strings.ToLower(user[i:])
	}
	return user
}

var _ caddyfile.Unmarshaler = (*OAuth)(nil)
