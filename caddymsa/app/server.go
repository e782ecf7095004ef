package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"crypto/tls"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/app/certs"
	"github.com/caddy-msa/caddy-msa/caddymsa/app/gate"
	"github.com/caddy-msa/caddy-msa/caddymsa/app/places"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
	"github.com/caddy-msa/caddy-msa/caddymsa/running"
	"github.com/caddy-msa/caddy-msa/caddymsa/smtpd"
)

// Server is one submission service: its addresses, who may submit, what, and where it goes.
type Server struct {
	// Hostname is what the server calls itself, in the greeting, in Received and in its
	// certificate. Required. Placeholders are resolved when the configuration is loaded.
	Hostname string `json:"hostname,omitempty"`

	// Listen are addresses where TLS begins with STARTTLS, in Caddy's notation (":587",
	// "unix//run/msa.sock", "fd/3"); without a port, 587. Default ":587", if ListenTLS is empty too.
	Listen []string `json:"listen,omitempty"`
	// ListenTLS are addresses where TLS begins with the first byte (RFC 8314); without
	// a port, 465. Default ":465", if Listen is empty too.
	ListenTLS []string `json:"listen_tls,omitempty"`
	// ListenerWrappers see connections before TLS, as proxy_protocol does.
	ListenerWrappersRaw []json.RawMessage `json:"listener_wrappers,omitempty" caddy:"namespace=caddy.listeners inline_key=wrapper"`

	// TLSConnectionPolicies are Caddy's: protocols, client authentication and so on.
	// Default: one with Caddy's defaults.
	TLSConnectionPolicies caddytls.ConnectionPolicies `json:"tls_connection_policies,omitempty"`
	// Certificates are files to use instead of certificates from an issuer. They are
	// read again when they change.
	Certificates []certs.Files `json:"certificates,omitempty"`
	// Issuers obtain the certificate for the hostname. Default: what Caddy's TLS app
	// says, or Caddy's internal CA for a name that no public CA serves.
	IssuersRaw []json.RawMessage `json:"issuers,omitempty" caddy:"namespace=tls.issuance inline_key=module"`

	// Auth is who may submit. Required.
	Auth *Auth `json:"auth,omitempty"`
	// Policies are what may be submitted, in order. sender_identity is added in front, or
	// behind the last sender_identity among them, unless one of those has no matchers.
	Policies []*PolicyConfig `json:"policies,omitempty"`
	// Routes are where messages go. At least one is required.
	Routes []*RouteConfig `json:"routes,omitempty"`
	// Copies are where messages go too, beside their routes. Default: nowhere.
	Copies []*CopyConfig `json:"copies,omitempty"`
	// Notify are those who are told what becomes of messages. Default: nobody.
	Notify []*NotifyConfig `json:"notify,omitempty"`
	// Bounces is where delivery status notifications go. Default: the routes, by recipient.
	Bounces *RouteConfig `json:"bounces,omitempty"`

	// Received says what the Received field shows of the client: "full" (default),
	// "no_client", or "hashed" (an HMAC of the address, alike for one client).
	Received string `json:"received,omitempty"`
	// Newlines says what becomes of a message with bare CR, bare LF or NUL: "refuse"
	// (default) or "normalize", which stores CRLF and drops NUL.
	Newlines string `json:"newlines,omitempty"`

	Limits   Limits   `json:"limits,omitzero"`
	Timeouts Timeouts `json:"timeouts,omitzero"`

	app       *App
	name      string
	log       *zap.Logger
	lines     places.Lines // of its settings, where they are known
	addresses []listenAddress
	listeners running.Listeners // what they are bound to, once started
	wrappers  []wrapper
	policies  *policies
	routes    lookup // numbers in Routes
	certs     *certs.Set
	tlsConfig *tls.Config
	manage    bool // the TLS app gets a certificate for the hostname
	hashKey   []byte
	engine    *smtpd.Settings
	gate      *gate.Gate
	handed    *binding // of connections that something else accepts
	tlsApp    *caddytls.TLS
}

// fullStops are those that IDNA takes for a dot (RFC 3490 section 3.1): what Chinese and Japanese keyboards write.
var fullStops = strings.NewReplacer("\u3002", ".", "\uff0e", ".", "\uff61", ".")

// asciiHostname makes A-labels of a name in its own script: that is what the protocol and certificates carry.
func asciiHostname(name string) (string, error) {
	if strings.ContainsFunc(name, func(r rune) bool { return r >= 0x80 }) {
		ascii, err := mailaddr.ASCIIDomain(fullStops.Replace(name))
		if err != nil {
			return "", fmt.Errorf("%q: %w", name, err)
		}
		name = ascii
	}
	if err := mailaddr.ValidDomain(name, false); err != nil {
		return "", fmt.Errorf("%q: %w", name, err)
	}
	return name, nil
}

func (srv *Server) provision(ctx caddy.Context, tlsApp *caddytls.TLS) (err error) {
	srv.tlsApp = tlsApp
	if srv.Hostname == "" {
		return errors.New("hostname is required: the name that clients connect to and that the certificate is for")
	}
	if srv.Hostname, err = conf.Expand(srv.Hostname); err != nil {
		return fmt.Errorf("hostname: %w", err)
	}
	if srv.Hostname, err = asciiHostname(srv.Hostname); err != nil {
		return fmt.Errorf("hostname %w", err)
	}
	if err := srv.Limits.setDefaults(); err != nil {
		return fmt.Errorf("limits: %w", err)
	}
	if err := srv.Timeouts.setDefaults(); err != nil {
		return fmt.Errorf("timeouts: %w", err)
	}
	if err := oneOf("received", &srv.Received, "full", "no_client", "hashed"); err != nil {
		return err
	}
	if err := oneOf("newlines", &srv.Newlines, "refuse", "normalize"); err != nil {
		return err
	}
	if srv.hashKey, err = caddymsa.DecoySecret(ctx); err != nil {
		return err
	}
	if err := srv.provisionAddresses(); err != nil {
		return err
	}
	if err := srv.loadWrappers(ctx); err != nil {
		return err
	}
	if srv.Auth == nil {
		return errors.New("auth is required: a submission server takes messages from authenticated clients only (RFC 6409 section 4.3)")
	}
	if err := srv.Auth.provision(ctx, srv); err != nil {
		return fmt.Errorf("auth: %w", err)
	}
	if err := srv.provisionPolicies(ctx); err != nil {
		return err
	}
	if err := srv.provisionRoutes(ctx); err != nil {
		return err
	}
	if err := srv.provisionCopies(ctx); err != nil {
		return err
	}
	if err := srv.provisionNotifiers(ctx); err != nil {
		return err
	}
	if err := srv.provisionTLS(ctx); err != nil {
		return fmt.Errorf("tls: %w", err)
	}
	return nil
}

func (srv *Server) provisionAddresses() error {
	if len(srv.Listen)+len(srv.ListenTLS) == 0 {
		srv.Listen, srv.ListenTLS = []string{":587"}, []string{":465"}
	}
	starttls, err := parseAddresses(srv.Listen, 587, false)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	implicit, err := parseAddresses(srv.ListenTLS, 465, true)
	if err != nil {
		return fmt.Errorf("listen_tls: %w", err)
	}
	srv.addresses = append(starttls, implicit...)
	return nil
}

// provisionPolicies adds sender_identity where the operator's own, each with matchers, leave
// somebody out: in front of all, or behind the last of them.
func (srv *Server) provisionPolicies(ctx caddy.Context) error {
	at, added := 0, -1
	for i, p := range srv.Policies {
		if !p.isSenderIdentity() {
			continue
		}
		at = i + 1
		if len(p.MatcherSetsRaw) == 0 {
			at = -1
			break
		}
	}
	if at >= 0 {
		identity := &PolicyConfig{PolicyRaw: json.RawMessage(`{"module": "` + senderIdentity + `"}`)}
		srv.Policies, added = slices.Insert(slices.Clone(srv.Policies), at, identity), at
	}
	for i, p := range srv.Policies {
		n := i + 1 // as the operator counts
		if added >= 0 && i > added {
			n = i
		}
		if p == nil {
			return fmt.Errorf("the %s policy is empty", places.Ordinal(n))
		}
		raw := p.PolicyRaw // which loading empties
		p.gate = func() *gate.Gate { return srv.gate }
		err := p.provision(ctx)
		if err == nil {
			err = srv.app.canCount(p.module)
		}
		if err := srv.item("the "+places.Ordinal(n)+" policy", raw, err); err != nil {
			return err
		}
	}
	srv.policies = newPolicies(srv.Policies)
	return nil
}

func (srv *Server) provisionRoutes(ctx caddy.Context) error {
	if len(srv.Routes) == 0 {
		return errors.New("routes: at least one is required, else no message has anywhere to go; add a deliver line, as in deliver maildir /var/mail/{msa.recipient}")
	}
	for i, r := range srv.Routes {
		if r == nil {
			return fmt.Errorf("the %s route is empty", places.Ordinal(i+1))
		}
		raw := r.SinkRaw // which loading empties
		if err := srv.item("the "+places.Ordinal(i+1)+" route", raw, r.provision(ctx, srv.app.Queue.schedule)); err != nil {
			return err
		}
		srv.routes.add(i, r.matchers)
	}
	if srv.Bounces != nil {
		raw := srv.Bounces.SinkRaw
		if srv.Bounces.Unqueued != nil {
			return srv.item("bounces", raw, errors.New("unqueued is for routes: a notification has no client that waits for it"))
		}
		if err := srv.item("bounces", raw, srv.Bounces.provision(ctx, srv.app.Queue.schedule)); err != nil {
			return err
		}
	}
	return nil
}

// start builds what needs the other apps to be set up.
func (srv *Server) start() error {
	if err := srv.startTLS(); err != nil {
		return fmt.Errorf("tls: %w", err)
	}
	srv.engine = srv.settings()
	return nil
}

func (srv *Server) logStart() {
	listen := make([]string, len(srv.addresses))
	for i, na := range srv.addresses {
		listen[i] = na.String()
	}
	srv.log.Info("submission server is up", zap.String("hostname", srv.Hostname), zap.Strings("listen", listen),
		zap.Strings("mechanisms", srv.Auth.offered()), zap.Int("pid", os.Getpid()))
}

// oneOf checks a setting that is a word; the first is the default.
func oneOf(name string, v *string, words ...string) error {
	if *v == "" {
		*v = words[0]
	}
	if !slices.Contains(words, *v) {
		return fmt.Errorf("%s: %q is not known; use one of %q", name, *v, words)
	}
	return nil
}
