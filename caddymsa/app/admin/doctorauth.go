package admin

import (
	"context"
	"crypto/rand"
	"errors"
	"net/netip"
	"strings"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
)

// mechanisms looks whether every user can use what is offered.
func (s *Server) mechanisms(ctx context.Context) []doctor.Finding {
	n := doctor.About("mechanisms", "server "+s.Name)
	for _, m := range s.Mechanisms {
		need := caddymsa.CapSCRAM
		switch m {
		case sasl.SCRAMSHA256, sasl.SCRAMSHA256Plus:
		case sasl.DigestMD5:
			need = caddymsa.CapDigest
		default:
			continue
		}
		for _, b := range s.Backends {
			users, without, among := count(ctx, b.Module, need, s.Realms)
			if without > 0 {
				n.Warn("set their passwords again with all credentials (caddy msa user), or leave "+m+" out of auth { mechanisms ... }: clients that pick it are refused",
					"%s is offered, and %d of %s%d users of backend %s have nothing stored that it needs", m, without, among, users, b.ID)
			}
		}
	}
	if n.Clean() {
		n.OK("offered are %s", strings.Join(s.Mechanisms, ", "))
	}
	return n.Findings
}

// sampled is how many users of a database are looked at.
const sampled = 200

// count is of users who cannot use what the capability stands for: all of them, or the first ones. A backend that knows neither, or does
// not answer, which is another finding's, counts none.
func count(ctx context.Context, module any, c caddymsa.Capability, realms []string) (users, without int, among string) {
	switch m := module.(type) {
	case caddymsa.Surveyor:
		users, without = m.Survey(c, realms)
	case caddymsa.Sampler:
		users, without, _ = m.Sample(ctx, c, realms, sampled)
		among = "the first "
	}
	return users, without, among
}

// backend asks for a user whom nobody has: who answers works.
func (s *Server) backend(ctx context.Context, b Backend, x caddymsa.Examination) []doctor.Finding {
	x.Subject = "server " + s.Name + ": backend " + b.ID
	if examiner, ok := b.Module.(caddymsa.Examiner); ok {
		return examiner.Examine(ctx, x)
	}
	n := doctor.About("backends", x.Subject)
	lookuper, ok := caddymsa.As[caddymsa.Lookuper](b.Module, caddymsa.CapLookup)
	if !ok {
		n.Skip("try a user: caddy msa auth test", "it cannot be asked without a password or a token")
		return n.Findings
	}
	nobody := "doctor-" + strings.ToLower(rand.Text())
	_, err := lookuper.Lookup(ctx, caddymsa.Peer{IP: netip.AddrFrom4([4]byte{127, 0, 0, 1}), Server: s.Hostname, Session: "doctor"}, nobody)
	switch {
	case errors.Is(err, caddymsa.ErrCredentials):
		n.OK("it answers")
	case err != nil:
		n.Wrong("start what it asks, or correct its settings: until then clients get 454 4.7.0", "it cannot tell who a user is: %v", err)
	default:
		n.Warn("see that it says no to users that it does not know", "it knows a user whom nobody has: %s", nobody)
	}
	return n.Findings
}
