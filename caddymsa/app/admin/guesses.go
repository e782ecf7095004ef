package admin

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
)

// serveGuesses answers GET /msa/guesses.
func serveGuesses(w http.ResponseWriter, r *http.Request) error {
	return answerJSON(w, r, func(_ context.Context, p *Part) (*adminapi.Guesses, error) {
		answer := &adminapi.Guesses{Refusals: p.Tallies.Refusals.All(), Blocks: []adminapi.Block{}}
		for i := range p.Servers {
			s := &p.Servers[i]
			if s.Gate == nil {
				continue
			}
			for _, b := range s.Gate.Blocks() {
				user := b.User
				if b.ByUser && user == "" {
					user = "(a user that another node has blocked)"
				}
				answer.Blocks = append(answer.Blocks, adminapi.Block{Server: s.Name, Network: b.Network.String(), User: user, Until: b.Until})
			}
		}
		slices.SortStableFunc(answer.Blocks, func(a, b adminapi.Block) int { return b.Until.Compare(a.Until) })
		return answer, nil
	})
}

// liftBlock answers POST /msa/guess-actions/lift.
func liftBlock(ctx context.Context, p *Part, request *adminapi.BlockLift) (*adminapi.BlocksLifted, error) {
	ip, err := addressIn(request.Network)
	if err != nil {
		return nil, caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: fmt.Errorf("network: %q is neither a network (for example 192.0.2.7/32) nor an address", request.Network)}
	}
	if request.Server, err = p.serverNamed(request.Server); err != nil {
		return nil, err
	}
	answer := new(adminapi.BlocksLifted)
	for i := range p.Servers {
		if s := &p.Servers[i]; s.Gate != nil && (request.Server == "" || request.Server == s.Name) {
			answer.Lifted += s.Gate.Lift(s.Throttle, ip)
		}
	}
	p.Log.Info("block lifted", zap.String("network", request.Network), zap.String("server", request.Server), zap.Int("blocks", answer.Lifted),
		zap.String("by", OperatorOf(ctx)), zap.String("reason", request.Reason))
	p.noteAlone(ctx, journal.Fact{What: journal.Unblocked, Server: request.Server, Text: because(request.Network, request.Reason)})
	return answer, nil
}

// addressIn is an address of a network.
func addressIn(network string) (netip.Addr, error) {
	if p, err := netip.ParsePrefix(network); err == nil {
		return p.Addr(), nil
	}
	return netip.ParseAddr(network)
}
