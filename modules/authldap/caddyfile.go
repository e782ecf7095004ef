package authldap

import (
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-msa/caddy-msa/caddymsa/tableauth"
)

// UnmarshalCaddyfile sets up the backend from Caddyfile tokens. Syntax:
//
//	ldap <url...> {
//		start_tls
//		insecure_plaintext
//		ca                 <file...>
//		server_name        <name>
//		client_certificate <certificate> <key>
//		bind_dn            <dn>
//		bind_password      <password>
//		bind_external
//		user_dn            <dn with {user}, {local}, {domain}>
//		base               <dn>
//		scope              sub|one
//		filter             <filter>
//		user_attributes    <attribute...>
//		domains            <domain...>
//		password_attribute <attribute>
//		addresses          <attribute...>
//		attributes         <attribute...>
//		disabled           <attribute>|<filter>
//		fingerprint        <attribute...>
//		decoy_dn           <dn>
//		decoy              <scheme or credential>
//		timeout            <duration>
//		concurrency    <number>
//		cache              <duration>|off
//	}
func (l *LDAP) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the backend's name
	if l.Servers = d.RemainingArgs(); len(l.Servers) == 0 {
		return d.Err("ldap needs a server, as in ldap ldaps://ldap.example.org")
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := l.setting(d); err != nil {
			return err
		}
	}
	return nil
}

func (l *LDAP) setting(d *caddyfile.Dispenser) (err error) {
	name := d.Val()
	words := map[string]*bool{"start_tls": &l.StartTLS, "insecure_plaintext": &l.InsecurePlaintext, "bind_external": &l.BindExternal}
	texts := map[string]*string{
		"server_name": &l.ServerName, "bind_dn": &l.BindDN, "bind_password": &l.BindPassword, "user_dn": &l.UserDN, "base": &l.Base,
		"scope": &l.Scope, "filter": &l.Filter, "password_attribute": &l.PasswordAttribute, "disabled": &l.Disabled,
		"decoy_dn": &l.DecoyDN, "decoy": &l.Decoy,
	}
	lists := map[string]*[]string{
		"ca": &l.CA, "user_attributes": &l.UserAttributes, "domains": &l.Domains, "addresses": &l.Addresses,
		"attributes": &l.Attributes, "fingerprint": &l.Fingerprint,
	}
	switch {
	case name == "cache":
		if l.Cache, err = tableauth.UnmarshalCache(d); l.Cache < 0 {
			l.Cache = 0
		}
		return err
	case name == "client_certificate":
		if !d.AllArgs(&l.ClientCertificate, &l.ClientKey) {
			return d.Err("client_certificate takes a certificate and a key")
		}
		return nil
	}
	args := d.RemainingArgs()
	if words[name] != nil {
		*words[name] = true
		if len(args) > 0 {
			return d.Errf("%s takes no value", name)
		}
		return nil
	}
	if lists[name] != nil {
		if *lists[name] = append(*lists[name], args...); len(args) == 0 {
			return d.Errf("%s takes one or more values", name)
		}
		return nil
	}
	if texts[name] == nil && name != "timeout" && name != "concurrency" {
		return d.Errf("unknown setting %q; there are %s", name, strings.Join(settings, ", "))
	}
	if len(args) != 1 {
		return d.Errf("%s takes one value; one with spaces stands in quotes", name)
	}
	switch name {
	case "timeout":
		timeout, err := caddy.ParseDuration(args[0])
		if err != nil || timeout <= 0 {
			return d.Errf("timeout: %q is no duration, as 5s is", args[0])
		}
		l.Timeout = caddy.Duration(timeout)
	case "concurrency":
		if l.Concurrency, err = strconv.Atoi(args[0]); err != nil || l.Concurrency <= 0 {
			return d.Errf("concurrency: %q is no number above 0", args[0])
		}
	default:
		*texts[name] = args[0]
	}
	return nil
}

// settings are for the error.
var settings = strings.Fields(`start_tls insecure_plaintext ca server_name client_certificate bind_dn bind_password bind_external user_dn
	base scope filter user_attributes domains password_attribute addresses attributes disabled fingerprint decoy_dn decoy timeout concurrency cache`)
