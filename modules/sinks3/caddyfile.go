package sinks3

import (
	"strconv"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-msa/caddy-msa/caddymsa/secret"
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
	var secretKey string
	texts := map[string]*string{"prefix": &s.Prefix, "region": &s.Region, "access_key": &s.AccessKey, "secret_key": &secretKey}
	flags := map[string]*bool{"path_style": &s.PathStyle, "insecure_plaintext": &s.InsecurePlaintext}
	for d.NextBlock(0) {
		name := d.Val()
		args := d.RemainingArgs()
		switch text, flag := texts[name], flags[name]; {
		case text != nil && len(args) == 1:
			*text = args[0]
		case flag != nil && len(args) == 0:
			*flag = true
		case name == "ca" && len(args) > 0:
			s.CA = append(s.CA, args...)
		case name == "timeout" && len(args) == 1:
			v, err := caddy.ParseDuration(args[0])
			if err != nil || v <= 0 {
				return d.Errf("s3: timeout: %q is no duration", args[0])
			}
			s.Timeout = caddy.Duration(v)
		case name == "concurrency" && len(args) == 1:
			n, err := strconv.Atoi(args[0])
			if err != nil || n <= 0 {
				return d.Errf("s3: concurrency: %q is no number above 0", args[0])
			}
			s.Concurrency = n
		case text != nil || flag != nil || name == "ca" || name == "timeout" || name == "concurrency":
			return d.ArgErr()
		default:
			return d.Errf("s3: unknown setting %s; there are prefix, region, access_key, secret_key, path_style, ca, timeout, concurrency and insecure_plaintext", name)
		}
	}
	s.SecretKey = secret.Secret(secretKey)
	return nil
}

// Interface guard
var _ caddyfile.Unmarshaler = (*S3)(nil)
