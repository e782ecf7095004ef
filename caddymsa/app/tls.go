package app

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
	"github.com/caddyserver/certmagic"

	"github.com/caddy-msa/caddy-msa/caddymsa/app/certs"
	"github.com/caddy-msa/caddy-msa/caddymsa/app/places"
	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
)

// provisionTLS sets up the connection policies and, unless files are given, the
// automation of the hostname's certificate.
func (srv *Server) provisionTLS(ctx caddy.Context) (err error) {
	if len(srv.TLSConnectionPolicies) == 0 {
		srv.TLSConnectionPolicies = caddytls.ConnectionPolicies{new(caddytls.ConnectionPolicy)}
	}
	for i, p := range srv.TLSConnectionPolicies {
		if p == nil {
			return fmt.Errorf("the %s connection policy is empty", places.Ordinal(i+1))
		}
		if p.ALPN == nil {
			p.ALPN = []string{} // Caddy's default is HTTP's, and refuses a client that says smtp
		}
		if p.DefaultSNI == "" {
			p.DefaultSNI = srv.Hostname // old mail clients and devices send no SNI
		}
		if p.FallbackSNI == "" {
			p.FallbackSNI = srv.Hostname // or the name of a load balancer
		}
	}
	// Before Provision, which empties what it has loaded.
	if slices.Contains(srv.Auth.offered(), sasl.External) && !slices.ContainsFunc(srv.TLSConnectionPolicies, verifiesClients) {
		return errors.New("the auth backends want client certificates, which no connection policy verifies; add tls { client_auth { mode verify_if_given; trust_pool file ca.pem } }, or leave out the mechanism EXTERNAL")
	}
	if err := srv.TLSConnectionPolicies.Provision(ctx); err != nil {
		return places.ConnectionPolicy(err)
	}
	if len(srv.Certificates) > 0 {
		if len(srv.IssuersRaw) > 0 {
			return errors.New("certificates and issuers exclude each other; remove one of them")
		}
		srv.certs, err = certs.Load(srv.Certificates, srv.name, srv.Hostname, srv.log)
		if wrong, ok := errors.AsType[certs.FileError](err); ok {
			raw, _ := json.Marshal(srv.Certificates[wrong.Index])
			return srv.item("the "+places.Ordinal(wrong.Index+1)+" certificate", raw, wrong)
		}
		return err
	}
	srv.manage = true
	return srv.automate(ctx)
}

// verifiesClients tells whether the handshake checks a client's certificate, if there is one.
func verifiesClients(p *caddytls.ConnectionPolicy) bool {
	c := p.ClientAuthentication
	if c == nil {
		return false
	}
	switch c.Mode {
	case "": // as Caddy reads it, in what it calls deprecated too
		return c.CARaw != nil || len(c.TrustedCACerts)+len(c.TrustedCACertPEMFiles)+len(c.TrustedLeafCerts) > 0 //nolint:staticcheck // operators still have them
	case "verify_if_given", "require_and_verify":
		return true
	}
	return false
}

// automate tells Caddy's TLS app how to get the hostname's certificate where its
// own configuration does not say.
func (srv *Server) automate(ctx caddy.Context) error {
	issuers := srv.IssuersRaw
	if len(issuers) == 0 {
		if isPublic(srv.Hostname) || srv.hasAutomationPolicy() {
			return nil
		}
		issuers = []json.RawMessage{json.RawMessage(`{"module": "internal"}`)}
	}
	if srv.isIssuedAlike(issuers) {
		return nil
	}
	return srv.tlsApp.AddAutomationPolicy(&caddytls.AutomationPolicy{
		SubjectsRaw: []string{srv.Hostname},
		IssuersRaw:  issuers,
	})
}

// isIssuedAlike tells whether Caddy's own configuration, such as a web site's of the same name, has the same kinds of issuers for
// the hostname: the TLS app refuses a second policy for it, if it is asked after this app was provisioned.
func (srv *Server) isIssuedAlike(issuers []json.RawMessage) bool {
	if srv.tlsApp.Automation == nil {
		return false
	}
	return slices.ContainsFunc(srv.tlsApp.Automation.Policies, func(p *caddytls.AutomationPolicy) bool {
		return slices.Contains(p.SubjectsRaw, srv.Hostname) && slices.EqualFunc(p.Issuers, issuers, func(have certmagic.Issuer, want json.RawMessage) bool {
			var settings map[string]any
			module, ok := have.(caddy.Module)
			return ok && json.Unmarshal(want, &settings) == nil && len(settings) == 1 && settings["module"] == module.CaddyModule().ID.Name()
		})
	})
}

// isPublic tells whether a public CA would certify the name. Beside what certmagic knows
// to be internal, the names that RFC 6761 reserves exist nowhere.
func isPublic(hostname string) bool {
	if !certmagic.SubjectQualifiesForPublicCert(hostname) || certmagic.SubjectIsIP(hostname) {
		return false
	}
	labels := strings.Split(strings.ToLower(hostname), ".")
	return !slices.Contains([]string{"test", "example", "invalid"}, labels[len(labels)-1])
}

func (srv *Server) hasAutomationPolicy() bool {
	if srv.tlsApp.Automation == nil {
		return false
	}
	return slices.ContainsFunc(srv.tlsApp.Automation.Policies, func(p *caddytls.AutomationPolicy) bool {
		return slices.ContainsFunc(p.SubjectsRaw, func(s string) bool { return certmagic.MatchWildcard(srv.Hostname, s) })
	})
}

// startTLS makes the configuration that handshakes use, and has the certificate managed.
func (srv *Server) startTLS() error {
	srv.tlsConfig = srv.TLSConnectionPolicies.TLSConfig(srv.app.ctx)
	set := srv.certs // for handshakes that begin before stopTLS and end after it
	for _, p := range srv.TLSConnectionPolicies {
		next := p.TLSConfig.GetCertificate
		if set == nil {
			p.TLSConfig.GetCertificate = orFallback(next, p.FallbackSNI)
			continue
		}
		p.TLSConfig.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if cert := set.Get(hello); cert != nil {
				return cert, nil
			}
			return next(hello)
		}
	}
	if !srv.manage {
		return nil
	}
	return srv.tlsApp.Manage(map[string]struct{}{srv.Hostname: {}})
}

// orFallback asks for the fallback's certificate where certmagic has none for the client's
// name: it does not fall back from names that are not domain names, such as a container's
// that has an underscore.
func orFallback(next getCertificate, fallback string) getCertificate {
	return func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		cert, err := next(hello)
		if err == nil || hello.ServerName == "" || hello.ServerName == fallback {
			return cert, err
		}
		asked := *hello
		asked.ServerName = fallback
		return next(&asked)
	}
}

type getCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error)

// stopTLS ends the watch on certificate files.
func (srv *Server) stopTLS() {
	if srv.certs != nil {
		_ = srv.certs.Close()
		srv.certs = nil
	}
}
