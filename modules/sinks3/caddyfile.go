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
//		retain      governance|compliance <duration>
//		legal_hold
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
		conf.Func("retain", s.retain),
		conf.Flag("legal_hold", &s.LegalHold),
	)...)
}

func (s *S3) retain(d *caddyfile.Dispenser) error {
	var mode, duration string
	if !d.AllArgs(&mode, &duration) || mode != "governance" && mode != "compliance" {
		return d.Err("retain takes governance or compliance and a duration, as in: retain compliance 3650d")
	}
	period, err := conf.ParseDuration(duration)
	if err != nil {
		return d.Errf("retain: %v", err)
	}
	s.Retain = &Retention{Mode: mode, For: conf.Duration(period)}
	return nil
}

// Interface guard
var _ caddyfile.Unmarshaler = (*S3)(nil)
