package authldap

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
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
//		case               fold|exact
//		domains            <domain...>
//		password_attribute <attribute>
//		addresses          <attribute...>
//		attributes         <attribute...>
//		disabled           <attribute>|<filter>
//		fingerprint        <attribute...>
//		decoy_dn           <dn>
//		decoy              <scheme or credential>
//		timeout            <duration>
//		concurrency        <count>
//		cache              <duration>|off
//	}
func (l *LDAP) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the backend's name
	if l.Servers = d.RemainingArgs(); len(l.Servers) == 0 {
		return d.Err("ldap needs a server, as in ldap ldaps://ldap.example.org")
	}
	return conf.Block(d, append(l.TLSClient.Settings(),
		conf.Flag("start_tls", &l.StartTLS),
		conf.Flag("insecure_plaintext", &l.InsecurePlaintext),
		conf.Text("bind_dn", &l.BindDN),
		conf.Value("bind_password", &l.BindPassword),
		conf.Flag("bind_external", &l.BindExternal),
		conf.Text("user_dn", &l.UserDN),
		conf.Text("base", &l.Base),
		conf.Word("scope", &l.Scope, scopes...),
		conf.Text("filter", &l.Filter),
		conf.List("user_attributes", &l.UserAttributes),
		conf.Value("case", &l.Case),
		conf.List("domains", &l.Domains),
		conf.Text("password_attribute", &l.PasswordAttribute),
		conf.List("addresses", &l.Addresses),
		conf.List("attributes", &l.Attributes),
		conf.Text("disabled", &l.Disabled),
		conf.List("fingerprint", &l.Fingerprint),
		conf.Text("decoy_dn", &l.DecoyDN),
		conf.Text("decoy", &l.Decoy),
		conf.Value("timeout", &l.Timeout),
		conf.Count("concurrency", &l.Concurrency),
		conf.DurationOr("cache", &l.Cache, "off", 0),
	)...)
}
