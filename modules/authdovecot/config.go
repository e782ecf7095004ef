package authdovecot

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
	"github.com/caddy-msa/caddy-msa/caddymsa/tableauth"
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
		d.Timeout = caddy.Duration(10 * time.Second)
	}
	if d.FingerprintField != "" && d.UserDB == "" {
		return errors.New("fingerprint_field needs userdb: without it open sessions are not looked up")
	}
	return nil
}

// resolve reads an address. Passwords go to it in clear text.
func (d *Dovecot) resolve(text, setting string) (network, address string, err error) {
	text, err = caddy.NewReplacer().ReplaceOrErr(text, true, true)
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
	if ip, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !ip.IsLoopback()) {
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
	for nesting := disp.Nesting(); disp.NextBlock(nesting); {
		if err := d.setting(disp); err != nil {
			return err
		}
	}
	return nil
}

func (d *Dovecot) setting(disp *caddyfile.Dispenser) (err error) {
	name := disp.Val()
	texts := map[string]*string{"userdb": &d.UserDB, "service": &d.Service, "addresses_field": &d.AddressesField, "fingerprint_field": &d.FingerprintField}
	lists := map[string]*[]string{"mechanisms": &d.Mechanisms, "attributes": &d.Attributes}
	switch {
	case texts[name] != nil:
		if !disp.AllArgs(texts[name]) {
			return disp.Errf("%s takes one value", name)
		}
	case lists[name] != nil:
		if disp.CountRemainingArgs() == 0 {
			return disp.Errf("%s takes one or more values", name)
		}
		*lists[name] = append(*lists[name], disp.RemainingArgs()...)
	case name == "timeout":
		var arg string
		if !disp.AllArgs(&arg) {
			return disp.Err("timeout takes a duration, as in 10s")
		}
		timeout, err := caddy.ParseDuration(arg)
		if err != nil || timeout <= 0 {
			return disp.Errf("timeout: %q is no duration, as 10s is", arg)
		}
		d.Timeout = caddy.Duration(timeout)
	case name == "cache":
		d.Cache, err = tableauth.UnmarshalCache(disp)
		d.Cache = max(d.Cache, 0) // off is the default
		return err
	default:
		return disp.Errf("unknown setting %q; there are userdb, mechanisms, service, timeout, addresses_field, fingerprint_field, attributes and cache", name)
	}
	return nil
}
