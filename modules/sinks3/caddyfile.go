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
	if !d.AllArgs(&s.Endpoint, &s.Bucket) {
		return d.Err("s3 takes an endpoint and a bucket, as in: s3 https://s3.eu-central-1.amazonaws.com declarations")
	}
	return conf.Block(d,
		conf.Text("prefix", &s.Prefix),
		conf.Text("region", &s.Region),
		conf.Text("access_key", &s.AccessKey),
		conf.Value("secret_key", &s.SecretKey),
		conf.Flag("path_style", &s.PathStyle),
		conf.List("ca", &s.CA),
		conf.Value("timeout", &s.Timeout),
		conf.Count("concurrency", &s.Concurrency),
		conf.Flag("insecure_plaintext", &s.InsecurePlaintext),
	)
}

// Interface guard
var _ caddyfile.Unmarshaler = (*S3)(nil)
