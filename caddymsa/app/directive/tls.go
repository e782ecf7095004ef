package directive

import (
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddytls"

	"github.com/caddy-msa/caddy-msa/caddymsa/app/certs"
	"github.com/caddy-msa/caddy-msa/caddymsa/app/places"
)

// tls reads one of:
//
//	tls internal
//	tls <certificate> <key>
//	tls {
//		issuer <module> ...
//		<words of Caddy's connection policies>
//	}
func (p *serverParser) tls(d *caddyfile.Dispenser) error {
	srv := p.srv
	switch args := d.RemainingArgs(); {
	case len(args) == 1 && args[0] == "internal":
		srv.IssuersRaw = append(srv.IssuersRaw, caddyconfig.JSONModuleObject(new(caddytls.InternalIssuer), "module", "internal", nil))
	case len(args) == 2:
		files := certs.Files{Certificate: args[0], Key: args[1]}
		srv.Certificates = append(srv.Certificates, files)
		places.Remember(caddyconfig.JSON(files, nil), place(d))
	case len(args) != 0:
		return d.Err("tls takes internal, or a certificate and a key, or a block")
	}
	var policy []caddyfile.Token
	first := d.Token()
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if d.Val() != "issuer" {
			policy = append(policy, d.NextSegment()...)
			continue
		}
		if !d.NextArg() {
			return d.Err("issuer takes a module, as in: issuer acme")
		}
		issuer, err := parseModule(d, "issuer", "tls.issuance", "module")
		if err != nil {
			return err
		}
		srv.IssuersRaw = append(srv.IssuersRaw, issuer)
	}
	if policy == nil {
		return nil
	}
	cp := new(caddytls.ConnectionPolicy)
	if err := cp.UnmarshalCaddyfile(caddyfile.NewDispenser(inBlock(first, policy))); err != nil {
		return err
	}
	srv.TLSConnectionPolicies = append(srv.TLSConnectionPolicies, cp)
	return nil
}

// inBlock puts tokens back into the block of a directive.
func inBlock(directive caddyfile.Token, tokens []caddyfile.Token) []caddyfile.Token {
	open, end := directive, tokens[len(tokens)-1]
	directive.Text, open.Text, end.Text = "tls", "{", "}"
	end.Line++
	all := append([]caddyfile.Token{directive, open}, tokens...)
	return append(all, end)
}
