package authdovecot

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
)

// plain is how passwords are asked about.
const plain = sasl.Plain

// proxiable are the mechanisms that can be handed on. What is bound to the TLS connection or its
// certificate cannot be.
var proxiable = []string{sasl.SCRAMSHA256, sasl.DigestMD5, sasl.OAuthBearer, sasl.XOAuth2}

// check sets defaults and refuses what cannot work.
func (d *Dovecot) check() error {
	for i, name := range d.Mechanisms {
		name = strings.ToUpper(name)
		d.Mechanisms[i] = name
		switch {
		case name == sasl.Plain || name == sasl.Login:
			return fmt.Errorf("mechanisms: %s is served anyway; leave it out", name)
		case !slices.Contains(proxiable, name):
			return fmt.Errorf("mechanisms: %s cannot be handed on to Dovecot; there are %s", name, strings.Join(proxiable, ", "))
		case slices.Contains(d.Mechanisms[:i], name):
			return fmt.Errorf("mechanisms: %s is specified twice", name)
		}
	}
	if d.Service == "" {
		d.Service = "smtp"
	}
	if d.Timeout < 0 || d.Cache < 0 {
		return errors.New("timeout and cache cannot be negative")
	}
	if d.Timeout == 0 {
		d.Timeout = conf.Duration(10 * time.Second)
	}
	if d.FingerprintField != "" && d.UserDB == "" {
		return errors.New("fingerprint_field needs userdb: without it open sessions are not looked up")
	}
	return nil
}

// resolve reads an address. Passwords go to it in clear text.
func (d *Dovecot) resolve(text, setting string) (network, address string, err error) {
	text, err = conf.Expand(text)
	if err != nil {
		return "", "", fmt.Errorf("%s: %w", setting, err)
	}
	if path := strings.TrimPrefix(text, "unix/"); strings.HasPrefix(path, "/") {
		return "unix", path, nil
	}
	address = strings.TrimPrefix(text, "tcp/")
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" || port == "" || strings.Contains(address, "/") {
		return "", "", fmt.Errorf("%s %q: it is the path of a socket, as in /run/dovecot/auth-client, or host:port", setting, text)
	}
	if !conf.IsLoopback(host) {
		d.log.Warn("passwords cross the network in clear text to Dovecot; use a unix socket or a tunnel", zap.String(setting, address))
	}
	return "tcp", address, nil
}

// UnmarshalCaddyfile sets up the backend from Caddyfile tokens. Syntax:
//
//	dovecot <socket> {
//		userdb            <socket>
//		mechanisms        <mechanism...>
//		service           <name>
//		timeout           <duration>
//		addresses_field   <name>
//		fingerprint_field <name>
//		attributes        <field...>
//		cache             <duration>|off
//	}
func (d *Dovecot) UnmarshalCaddyfile(disp *caddyfile.Dispenser) error {
	disp.Next() // consume the backend's name
	if !disp.AllArgs(&d.Address) {
		return disp.Err("dovecot takes a socket of Dovecot's auth, as in dovecot /run/dovecot/auth-client")
	}
	return conf.Block(disp,
		conf.Text("userdb", &d.UserDB),
		conf.List("mechanisms", &d.Mechanisms),
		conf.Text("service", &d.Service),
		conf.Value("timeout", &d.Timeout),
		conf.Text("addresses_field", &d.AddressesField),
		conf.Text("fingerprint_field", &d.FingerprintField),
		conf.List("attributes", &d.Attributes),
		conf.DurationOr("cache", &d.Cache, "off", 0), // off is the default
	)
}
