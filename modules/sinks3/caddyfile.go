package sinks3

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
)

// UnmarshalCaddyfile sets up the sink from Caddyfile tokens. Syntax:
//
//	s3 <endpoint> <bucket> {
//		prefix      <text>
//		region      <name>
//		access_key  <id>
//		secret_key  <secret>
//		path_style
//		ca          <pem_file...>
//		timeout     <duration>
//		concurrency <count>
//		insecure_plaintext
//	}
func (s *S3) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the sink's name
	if !d.AllArgs(&s.Endpoint, &s.Name) {
		return d.Err("s3 takes an endpoint and a bucket, as in: s3 https://s3.eu-central-1.amazonaws.com declarations")
	}
	return conf.Block(d, append(s.Settings(),
		conf.Value("timeout", &s.Timeout),
		conf.Count("concurrency", &s.Concurrency),
	)...)
}

// Interface guard
var _ caddyfile.Unmarshaler = (*S3)(nil)
