package gate

import (
	"cmp"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/counts"
)

// Block is one that is in force.
type Block struct {
	Network netip.Prefix
	User    string // empty: anybody's, or of a user whom another node has blocked
	ByUser  bool
	Until   time.Time
}

// maxBlocks bounds what Blocks returns.
const maxBlocks = 1000

// Blocks are those in force, the longest first.
func (g *guard) Blocks() []Block {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.clock()
	var all []Block
	for k, f := range g.counts {
		if k.kind != unanswered && now.Before(f.blocked) {
			all = append(all, Block{k.network, f.user, k.kind == byUser, f.blocked})
		}
	}
	slices.SortFunc(all, func(a, b Block) int {
		return cmp.Or(b.Until.Compare(a.Until), strings.Compare(a.Network.String(), b.Network.String()), strings.Compare(a.User, b.User))
	})
	return all[:min(len(all), maxBlocks)]
}

// Lift forgets what a network and the users there were refused, and returns how many blocks that ended. Where nodes share the
// counts, the shared ones are forgotten too, and the other nodes ask about their blocks again within liftsEvery. A block of a user
// there of which only another node knows is lifted there.
func (g *guard) Lift(t *Throttle, ip netip.Addr) (lifted int) {
	network := caddymsa.ClientNetwork(ip)
	g.mu.Lock()
	now := g.clock()
	keys := []guardKey{{network: network}} // of which another node may know more
	for k, f := range g.counts {
		if k.network != network {
			continue
		}
		if k.kind == byUser {
			keys = append(keys, k)
		}
		if k.kind != unanswered && now.Before(f.blocked) {
			lifted++
		}
		f.level, f.blocked, f.user = 0, time.Time{}, ""
		if f.asked == 0 {
			delete(g.counts, k)
		}
	}
	g.mu.Unlock()
	if t.shared != nil {
		var changes []counts.Change
		for _, k := range keys {
			changes = append(changes, counts.Change{Key: t.refusalsOf(k), Add: math.MinInt32 * int64(1e6)}, counts.Change{Key: t.blockOf(k), Add: math.MinInt32 * int64(1e6)})
		}
		_ = t.shared.Return(t.spool, append(changes, t.lifts(1))...)
	}
	return lifted
}

// maxUser bounds a name that a stranger may have chosen.
const maxUser = 100

func shortened(user string) string {
	if len(user) <= maxUser {
		return user
	}
	return strings.ToValidUTF8(user[:maxUser], "") + "…"
}
