package httpautoconfig

import (
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
	"github.com/caddy-msa/caddy-msa/caddymsa/running"
)

func init() {
	httpcaddyfile.RegisterHandlerDirective("msa_autoconfig", func(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		handler := new(Handler)
		return handler, handler.UnmarshalCaddyfile(h.Dispenser)
	})
	httpcaddyfile.RegisterDirectiveOrder("msa_autoconfig", httpcaddyfile.Before, "respond")
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	msa_autoconfig [<matcher>] <server> {
//		domains      <domains...>
//		imap         <host:port> [implicit|starttls]
//		pop3         <host:port> [implicit|starttls]
//		smtp         <host:port> [implicit|starttls]
//		display_name <name>
//		username     address|local_part
//	}
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the directive's name
	if !d.Args(&h.Server) {
		return d.Err("the msa server's name is expected, as in: msa_autoconfig msa.example.org")
	}
	running.NamedAt(d, h.Server)
	missing := d.Err("domains is required, as in: domains example.org")
	err := conf.Block(d,
		conf.Each("domains", h.readDomains),
		services(imap, &h.IMAP),
		services(pop3, &h.POP3),
		services(smtp, &h.SMTP),
		conf.Text("display_name", &h.DisplayName),
		conf.Word("username", &h.Username, usernames...),
	)
	if err == nil && len(h.Domains) == 0 {
		return missing
	}
	return err
}

// readDomains adds those of a line.
func (h *Handler) readDomains(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.Err("domains takes one or more values")
	}
	for _, domain := range args {
		if _, err := mailaddr.ParseDomainPattern(domain); err != nil {
			return d.Errf("domains: %w", err)
		}
	}
	h.Domains = append(h.Domains, args...)
	return nil
}

// services is a setting that may be given several times, one service each.
func services(name string, into *[]*Service) conf.Setting {
	return conf.Each(name, func(d *caddyfile.Dispenser) error {
		args := d.RemainingArgs()
		if len(args) < 1 || len(args) > 2 {
			return d.Errf("%s takes an address, and how TLS begins if the port does not say, as in: %s mail.example.org:1234 starttls", name, name)
		}
		s := &Service{Address: args[0]}
		if len(args) == 2 {
			s.TLS = args[1]
		}
		*into = append(*into, s)
		if strings.Contains(s.Address, "{") { // known where it is loaded
			return nil
		}
		trial := *s
		if err := trial.provision(name); err != nil {
			return d.Errf("%s: %w", name, err)
		}
		return nil
	})
}
