package authstatic

import (
	"context"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
)

// The backend's table could serve DIGEST-MD5 too, but no credential that is allowed
// here can, so that interface is left out: the mechanism is not offered for it.

// VerifyPassword implements caddymsa.PasswordVerifier.
func (s *Static) VerifyPassword(ctx context.Context, peer caddymsa.Peer, user, password string) (caddymsa.Identity, error) {
	return s.table.VerifyPassword(ctx, peer, user, password)
}

// SCRAMCredential implements caddymsa.SCRAMStore.
func (s *Static) SCRAMCredential(ctx context.Context, peer caddymsa.Peer, user string) (sasl.SCRAMCredential, caddymsa.Identity, error) {
	return s.table.SCRAMCredential(ctx, peer, user)
}

// Lookup implements caddymsa.Lookuper.
func (s *Static) Lookup(ctx context.Context, peer caddymsa.Peer, user string) (caddymsa.Identity, error) {
	return s.table.Lookup(ctx, peer, user)
}

// Survey implements caddymsa.Surveyor.
func (s *Static) Survey(c caddymsa.Capability, realms []string) (users, without int) {
	return s.table.Survey(c, realms)
}

// Interface guards
var (
	_ caddy.Provisioner         = (*Static)(nil)
	_ caddyfile.Unmarshaler     = (*Static)(nil)
	_ caddymsa.PasswordVerifier = (*Static)(nil)
	_ caddymsa.SCRAMStore       = (*Static)(nil)
	_ caddymsa.Lookuper         = (*Static)(nil)
	_ caddymsa.Surveyor         = (*Static)(nil)
)
