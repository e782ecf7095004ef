package sinknats

import (
	"strconv"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-msa/caddy-msa/caddymsa/secret"
)

// UnmarshalCaddyfile sets up the sink from Caddyfile tokens. Syntax:
//
//	nats <urls...> {
//		subject            <subject>
//		stream             <name>
//		core
//		credentials        <file>
//		username           <name>
//		password           <password>
//		token              <token>
//		ca                 <pem_file...>
//		client_certificate <certificate_file> <key_file>
//		timeout            <duration>
//		concurrency        <count>
//	}
func (s *NATS) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the sink's name
	if s.URLs = d.RemainingArgs(); len(s.URLs) == 0 {
		return d.Err("nats takes a URL, as in: nats tls://nats.example.org:4222 { subject mail.incoming }")
	}
	texts := map[string]*string{"subject": &s.Subject, "stream": &s.Stream, "credentials": &s.Credentials, "username": &s.Username}
	secrets := map[string]*secret.Secret{"password": &s.Password, "token": &s.Token}
	for d.NextBlock(0) {
		name := d.Val()
		args := d.RemainingArgs()
		switch text, hidden := texts[name], secrets[name]; {
		case text != nil && len(args) == 1:
			*text = args[0]
		case hidden != nil && len(args) == 1:
			*hidden = secret.Secret(args[0])
		case name == "core" && len(args) == 0:
			s.Core = true
		case name == "ca" && len(args) > 0:
			s.CA = append(s.CA, args...)
		case name == "client_certificate" && len(args) == 2:
			s.ClientCertificate, s.ClientKey = args[0], args[1]
		case name == "timeout" && len(args) == 1:
			v, err := caddy.ParseDuration(args[0])
			if err != nil || v <= 0 {
				return d.Errf("nats: timeout: %q is no duration", args[0])
			}
			s.Timeout = caddy.Duration(v)
		case name == "concurrency" && len(args) == 1:
			n, err := strconv.Atoi(args[0])
			if err != nil || n <= 0 {
				return d.Errf("nats: concurrency: %q is no number above 0", args[0])
			}
			s.Concurrency = n
		case text != nil || hidden != nil || name == "core" || name == "ca" || name == "client_certificate" || name == "timeout" || name == "concurrency":
			return d.ArgErr()
		default:
			return d.Errf("nats: unknown setting %s; there are subject, stream, core, credentials, username, password, token, ca, client_certificate, timeout and concurrency", name)
		}
	}
	return nil
}

// Interface guard
var _ caddyfile.Unmarshaler = (*NATS)(nil)
