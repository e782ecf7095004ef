package sinkrelay

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/nexthop"
)

// UnmarshalCaddyfile sets up the sink from Caddyfile tokens. Syntax:
//
//	relay [<host[:port]> [<fallback hosts...>]] {
//		mx
//		resolver             <host[:port]>
//		concurrency          <count>
//		rate                 <messages> <duration>
//		bind                 <IP address>
//		tls                  required|implicit|opportunistic|off
//		server_name          <name>
//		ca                   <pem_file...>
//		client_certificate   <certificate_file> <key_file>
//		insecure_skip_verify
//		auth                 <username> <password> [<mechanism>]
//		auth                 <username> {
//			token_url     <URL>
//			client_id     <id>
//			client_secret <secret>
//			scopes        <scopes...>
//			audience      <audience>
//			mechanism     XOAUTH2|OAUTHBEARER
//		}
//		helo                 <name>
//		connections          <count>
//		idle_timeout         <duration>
//		messages             <count>
//		max_recipients       <count>
//		timeouts {
//			connect  <duration>
//			greeting <duration>
//			command  <duration>
//			data     <duration>
//			end      <duration>
//		}
//	}
func (r *Relay) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the sink's name
	if d.NextArg() {
		r.Host, r.FallbackHosts = d.Val(), d.RemainingArgs()
	}
	if err := conf.NoURL(append([]string{r.Host}, r.FallbackHosts...)...); err != nil {
		return d.Errf("relay: %w", err)
	}
	err := conf.Block(d, append(r.TLSClient.Settings(),
		conf.Flag("mx", &r.MX),
		conf.Text("resolver", &r.Resolver),
		conf.Count("concurrency", &r.Concurrency),
		conf.Func("rate", r.unmarshalRate),
		conf.Text("bind", &r.Bind),
		conf.Word("tls", &r.TLS, nexthop.TLSRequired, nexthop.TLSImplicit, nexthop.TLSOpportunistic, nexthop.TLSOff),
		conf.Flag("insecure_skip_verify", &r.InsecureSkipVerify),
		conf.Func("auth", r.unmarshalAuth),
		conf.Text("helo", &r.Helo),
		conf.CountOrNone("connections", &r.Connections),
		conf.Value("idle_timeout", &r.IdleTimeout),
		conf.Count("messages", &r.Messages),
		conf.Count("max_recipients", &r.MaxRecipients),
		conf.Sub("timeouts",
			conf.Value("connect", &r.Timeouts.Connect),
			conf.Value("greeting", &r.Timeouts.Greeting),
			conf.Value("command", &r.Timeouts.Command),
			conf.Value("data", &r.Timeouts.Data),
			conf.Value("end", &r.Timeouts.End),
		),
	)...)
	if err == nil && r.Host == "" && !r.MX {
		err = d.Err("relay takes a host, as in: relay smtp.example.net:587, or mx in its block")
	}
	return err
}

func (r *Relay) unmarshalAuth(d *caddyfile.Dispenser) error {
	r.Auth = new(Auth)
	args := d.RemainingArgs()
	switch len(args) {
	case 1:
		o := new(OAuth)
		r.Auth.Username, r.Auth.OAuth = args[0], o
		if err := conf.Block(d,
			conf.Text("token_url", &o.TokenURL),
			conf.Text("client_id", &o.ClientID),
			conf.Value("client_secret", &o.ClientSecret),
			conf.List("scopes", &o.Scopes),
			conf.Text("audience", &o.Audience),
			conf.Text("mechanism", &r.Auth.Mechanism),
		); err != nil || o.TokenURL != "" {
			return err
		}
	case 2, 3:
		r.Auth.Username, r.Auth.Password = args[0], conf.Secret(args[1])
		if len(args) == 3 {
			r.Auth.Mechanism = args[2]
		}
		return nil
	}
	return d.Err("auth takes a username and a password, or a username and a block with a token_url")
}

func (r *Relay) unmarshalRate(d *caddyfile.Dispenser) error {
	r.Rate = new(Rate)
	return conf.Parse(d, conf.CountPer("rate", "messages", &r.Rate.Messages, &r.Rate.Per))
}

// Interface guard
var _ caddyfile.Unmarshaler = (*Relay)(nil)
