package authoauth

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
)

// Introspection is how to ask the authorization server about tokens.
type Introspection struct {
	// URL of the introspection endpoint. Default: the one that the issuer publishes.
	URL string `json:"url,omitempty"`
	// ClientID and ClientSecret of this server there (RFC 6749 section 2.3.1). Required.
	// Placeholders such as {env.SECRET} and {file./run/secret} are resolved when the
	// configuration is loaded.
	ClientID     string      `json:"client_id,omitempty"`
	ClientSecret conf.Secret `json:"client_secret,omitempty"`

	secret conf.Resolved // ClientSecret without placeholders
}

// resolve fills in placeholders and defaults, and checks what is there.
func (o *OAuth) resolve() error {
	r := caddy.NewReplacer()
	if err := conf.ExpandAll(conf.Place("issuer", &o.Issuer), conf.Place("audience", &o.Audience), conf.PlaceList("scopes", o.Scopes)); err != nil {
		return err
	}
	if o.UserClaim == "" {
		o.UserClaim = "email"
	}
	if o.Timeout == 0 {
		o.Timeout = conf.Duration(5 * time.Second)
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
		if err := o.Introspection.resolve(r, o.log); err != nil {
			return fmt.Errorf("introspection: %w", err)
		}
	}
	return nil
}

func (i *Introspection) resolve(r *caddy.Replacer, log *zap.Logger) (err error) {
	if err := conf.ExpandAll(conf.Place("url", &i.URL), conf.Place("client_id", &i.ClientID)); err != nil {
		return err
	}
	if i.secret, err = i.ClientSecret.Resolve("client_secret", log); err != nil {
		return err
	}
	if i.ClientID == "" || i.secret.Value() == "" {
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
		return fmt.Errorf("%q is not a URL", s)
	}
	if u.Scheme == "https" || u.Scheme == "http" && conf.IsLoopback(u.Hostname()) {
		return nil
	}
	return fmt.Errorf("%s: must be https, or on this machine", s)
}

// newClient follows no redirects: what is asked has a secret in it, and what is answered counts.
func newClient(config *tls.Config) *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = config
	// One question a connection: one that hangs is closed and holds up no other, as it would all streams of HTTP/2.
	transport.Protocols = new(http.Protocols)
	transport.Protocols.SetHTTP1(true)
	transport.MaxConnsPerHost = 32
	transport.MaxIdleConnsPerHost = 4
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
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
//		ca                 <file...>
//		server_name        <name>
//		client_certificate <certificate> <key>
//		timeout            <duration>
//		case               fold|exact
//	}
func (o *OAuth) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the backend's name
	if d.NextArg() {
		o.Issuer = d.Val()
		if err := conf.NoEmpty(o.Issuer); err != nil {
			return d.Errf("issuer: %w", err)
		}
	}
	return conf.Block(d, append(o.TLSClient.Settings(),
		conf.Text("audience", &o.Audience),
		conf.List("scopes", &o.Scopes),
		conf.Text("user_claim", &o.UserClaim),
		conf.Text("addresses_claim", &o.AddressesClaim),
		conf.List("attribute_claims", &o.AttributeClaims),
		conf.Func("introspection", func(d *caddyfile.Dispenser) error {
			o.Introspection = new(Introspection)
			return o.Introspection.unmarshal(d)
		}),
		conf.Value("timeout", &o.Timeout),
		conf.Value("case", &o.Case),
	)...)
}

func (i *Introspection) unmarshal(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		i.URL = d.Val()
		if err := conf.NoEmpty(i.URL); err != nil {
			return d.Errf("url: %w", err)
		}
	}
	return conf.Block(d,
		conf.Text("client_id", &i.ClientID),
		conf.Value("client_secret", &i.ClientSecret),
	)
}

var _ caddyfile.Unmarshaler = (*OAuth)(nil)
