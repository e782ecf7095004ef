// Package httpautoconfig tells mail programs how to set themselves up for a mail submission server of this Caddy:
// Thunderbird and what reads its format, Outlook, and Apple's Mail.
package httpautoconfig

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
	"github.com/caddy-msa/caddy-msa/caddymsa/running"
	"github.com/caddy-msa/caddy-msa/caddymsa/terminal"
)

func init() {
	caddy.RegisterModule(new(Handler))
}

// Handler answers the places where mail programs look for their settings, and leaves all other requests to the next handler:
//
//	/mail/config-v1.1.xml                          Thunderbird, on autoconfig.<domain>
//	/.well-known/autoconfig/mail/config-v1.1.xml   Thunderbird, on <domain>
//	/autodiscover/autodiscover.xml                 Outlook, by POST, in any case
//	/email.mobileconfig?email=<address>            iOS and macOS
//
// Ports and mechanisms are those that the server has at that moment. Nothing tells whether a user exists.
type Handler struct {
	// Server is the msa server's name in the configuration. Required.
	Server string `json:"server,omitempty"`
	// Domains are those of the addresses that are answered for: example.org, or *.example.org for its subdomains. At
	// least one is required.
	Domains []string `json:"domains,omitempty"`
	// DisplayName is what mail programs call the account. Default: the domain. Placeholders are resolved once, when the
	// config is loaded.
	DisplayName string `json:"display_name,omitempty"`
	// Username says what users log in with: "address" (default), or "local_part", what is before the @.
	Username string `json:"username,omitempty"`
	// IMAP and POP3 are where users read their mail, the preferred one first. Thunderbird and Apple's Mail do not set up an
	// account without one.
	IMAP []*Service `json:"imap,omitempty"`
	POP3 []*Service `json:"pop3,omitempty"`
	// SMTP is where users submit, if it is not the server's own hostname and ports: a balancer, or ports that a
	// container publishes.
	SMTP []*Service `json:"smtp,omitempty"`

	log          *zap.Logger
	domains      []mailaddr.DomainPattern
	certificates func(host string) []certmagic.Certificate
	warned       sync.Map // texts that were logged
}

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.msa_autoconfig", New: func() caddy.Module { return new(Handler) }}
}

// Provision checks the settings, and that there is such a server.
func (h *Handler) Provision(ctx caddy.Context) error {
	h.log, h.certificates = terminal.Logger(ctx.Logger()), caddytls.AllMatchingCertificates
	if err := h.provision(); err != nil {
		return err
	}
	if err := running.Check(ctx, h.Server); err != nil {
		return err
	}
	if len(h.IMAP)+len(h.POP3) == 0 {
		h.log.Warn("Thunderbird and Apple's Mail set no account up without a place to read mail; add imap or pop3", zap.String("server", h.Server))
	}
	return nil
}

func (h *Handler) provision() (err error) {
	if h.Server == "" {
		return errors.New("the msa server's name is required, as in: msa_autoconfig msa.example.org")
	}
	if len(h.Domains) == 0 {
		return errors.New("domains is required, as in: domains example.org")
	}
	for _, d := range h.Domains {
		p, err := mailaddr.ParseDomainPattern(d)
		if err != nil {
			return fmt.Errorf("domains: %w", err)
		}
		h.domains = append(h.domains, p)
	}
	if h.DisplayName, err = conf.Expand(h.DisplayName); err != nil {
		return fmt.Errorf("display_name: %w", err)
	}
	if h.Username == "" {
		h.Username = usernames[0]
	}
	if err := conf.OneOf(h.Username, usernames...); err != nil {
		return fmt.Errorf("username: %w", err)
	}
	for protocol, services := range map[string][]*Service{imap: h.IMAP, pop3: h.POP3, smtp: h.SMTP} {
		for _, s := range services {
			if err := s.provision(protocol); err != nil {
				return fmt.Errorf("%s: %w", protocol, err)
			}
		}
	}
	return nil
}

// usernames are the words of the setting username.
var usernames = []string{"address", "local_part"}

// ServeHTTP answers a mail program, or hands the request on.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	switch path := r.URL.Path; {
	case path == "/mail/config-v1.1.xml", path == "/.well-known/autoconfig/mail/config-v1.1.xml":
		return h.serveThunderbird(w, r)
	case strings.EqualFold(path, "/autodiscover/autodiscover.xml"):
		return h.serveAutodiscover(w, r)
	case path == "/email.mobileconfig":
		return h.serveMobileconfig(w, r)
	}
	return next.ServeHTTP(w, r)
}

// warn logs what the operator has to see to, once for each configuration: strangers ask as often as they like.
func (h *Handler) warn(text string) {
	if _, before := h.warned.LoadOrStore(text, true); !before {
		h.log.Warn(text, zap.String("server", h.Server))
	}
}

// answers tells whether addresses of the domain are.
func (h *Handler) answers(asciiDomain string) bool {
	return slices.ContainsFunc(h.domains, func(p mailaddr.DomainPattern) bool { return p.Match(asciiDomain) })
}

// Errors that become answers in Caddy's way. What was asked is not in them.
var (
	errNotOurs = caddyhttp.Error(http.StatusNotFound, errors.New("the domain is none of those that this server is for"))
	errNoWord  = caddyhttp.Error(http.StatusNotFound, errors.New("this kind of mail program cannot use what the server has"))
)

// onlyGet refuses all other methods.
func onlyGet(w http.ResponseWriter, r *http.Request) error {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return nil
	}
	w.Header().Set("Allow", "GET, HEAD")
	return caddyhttp.Error(http.StatusMethodNotAllowed, fmt.Errorf("method %s", r.Method))
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
	_ caddyfile.Unmarshaler       = (*Handler)(nil)
)
