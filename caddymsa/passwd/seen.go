package passwd

import (
	"context"
	"crypto/sha256"
	"net/netip"
	"sync"

	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
)

// Seen checks users that are fetched one by one from where they cannot all be read, and
// remembers what their checks cost: that is what unknown names are checked against
// (docs/dev/architecture.md, decision 4). It may be used concurrently.
//
// Of the first MaxSeen users it remembers what is theirs; more are checked, but do not shift the
// shares any more.
type Seen struct {
	mu     sync.RWMutex
	first  decoys
	decoys decoys
	who    map[[16]byte]shape
}

// MaxSeen is how many users are remembered, MaxProfiles how many kinds of them: every
// kind keeps one user's credentials in memory, and every unknown name costs an HMAC for each.
const (
	MaxSeen     = 10000
	MaxProfiles = 32
)

// shape is what is remembered of a user.
type shape struct{ password, scram string }

// NewSeen returns a Seen for which, before it has seen any user, unknown names cost what like
// does.
func NewSeen(like *User) *Seen {
	return &Seen{first: newDecoys([]*User{like}), who: make(map[[16]byte]shape)}
}

// add remembers what a user's checks cost.
func (s *Seen) add(u *User) {
	if u == nil || u.Disabled || len(u.all()) == 0 {
		return
	}
	sum := sha256.Sum256([]byte(u.Name))
	key := [16]byte(sum[:16])
	now := shape{password: passwordCost(u)}
	if scram, ok := scramCost(u); ok {
		now.scram = scram
	}
	s.mu.RLock()
	before, known := s.who[key]
	full := len(s.who) >= MaxSeen
	s.mu.RUnlock()
	if known && before == now || !known && full {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	before, known = s.who[key] // another may have been quicker
	if known && before == now || !known && len(s.who) >= MaxSeen {
		return
	}
	s.who[key] = now
	s.decoys.password = s.decoys.password.move(before.password, now.password, u)
	s.decoys.scram = s.decoys.scram.move(before.scram, now.scram, u)
}

// move returns the profiles after a user has changed from one to another; "" is none. The
// slice itself is another, since the old one may be in use.
func (p profiles) move(from, to string, u *User) profiles {
	if from == to {
		return p
	}
	moved := make(profiles, 0, len(p)+1)
	found := to == ""
	for _, one := range p {
		switch one.key {
		case from:
			one.weight--
		case to:
			one.weight++
			found = true
		}
		if one.weight > 0 {
			moved = append(moved, one)
		}
	}
	if !found && len(moved) < MaxProfiles {
		moved = append(moved, profile{key: to, weight: 1, user: u})
	}
	return moved
}

// now returns the decoys of this moment.
func (s *Seen) now() decoys {
	s.mu.RLock()
	defer s.mu.RUnlock()
	d := s.decoys
	if len(d.password) == 0 {
		d.password = s.first.password
	}
	if len(d.scram) == 0 {
		d.scram = s.first.scram
	}
	return d
}

// Check is Table.Check for a user that was fetched; nil means that there is none of that name.
func (s *Seen) Check(ctx context.Context, secret []byte, name string, u *User, password string, from netip.Addr) (*User, error) {
	s.add(u)
	return check(ctx, u.active(from), s.now().decoy(secret, name), password, from)
}

// SCRAM is Table.SCRAM for a user that was fetched; nil means that there is none of that name.
func (s *Seen) SCRAM(secret []byte, name string, u *User, from netip.Addr) (sasl.SCRAMCredential, *User, error) {
	s.add(u)
	return scram(secret, name, u.soleApp().active(from), s.now().scram.choose(secret, name))
}
