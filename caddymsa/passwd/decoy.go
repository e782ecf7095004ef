package passwd

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"strings"
)

// decoys are what unknown names are checked against (docs/dev/architecture.md, decision 4).
type decoys struct {
	password profiles // of users with credentials
	scram    profiles // of users with a SCRAM key or a clear password
}

// NewDecoy makes a user to check unknown names against until a first real one was seen: of schemes, with the
// parameters of `caddy msa user`, or of credentials.
func NewDecoy(schemes []string) (*User, error) {
	const name = "decoy@example.org"
	u, err := NewUser(name)
	if err != nil {
		return nil, err
	}
	for _, scheme := range schemes {
		credential := scheme
		if !strings.HasPrefix(scheme, "{") {
			if credential, err = Generate(scheme, name, "decoy", Options{}); err != nil {
				return nil, fmt.Errorf("decoy: %s: %w", scheme, err)
			}
		}
		if err := u.AddPassword(credential); err != nil {
			return nil, fmt.Errorf("decoy: %w", err)
		}
	}
	return &u, nil
}

// profiles are groups of users whose checks take the same time.
type profiles []profile

type profile struct {
	key    string
	weight float64 // how many users are like it
	user   *User   // one of them
}

func newDecoys(users []*User) (d decoys) {
	password, scram := map[string]int{}, map[string]int{}
	for _, u := range users {
		if u.Disabled || len(u.all()) == 0 {
			continue
		}
		d.password.count(password, passwordCost(u), u)
		if key, ok := scramCost(u); ok {
			d.scram.count(scram, key, u)
		}
		for i := range u.Apps { // by name+label
			app := u.with(&u.Apps[i])
			if key, ok := scramCost(app); ok {
				d.scram.count(scram, key, app)
			}
		}
	}
	return d
}

// passwordCost names what the time of checking a user's password depends on.
func passwordCost(u *User) string {
	all := u.all()
	costs := make([]string, len(all))
	for i, c := range all {
		costs[i] = c.method().cost()
	}
	return strings.Join(costs, ",")
}

// scramCost names what shows of a user in SCRAM.
func scramCost(u *User) (string, bool) {
	for _, c := range u.Credentials {
		if k, ok := c.method().(*scramKey); ok {
			return fmt.Sprintf("stored %d %d", k.Iterations, len(k.Salt)), true
		}
	}
	password, ok := u.Plain()
	if prepareSCRAM(password) != password {
		return "clear, two keys", ok
	}
	return "clear", ok
}

func (p *profiles) count(index map[string]int, key string, u *User) {
	i, ok := index[key]
	if !ok {
		i = len(*p)
		index[key] = i
		*p = append(*p, profile{key: key, user: u})
	}
	(*p)[i].weight++
}

// choose returns a user for a name, each profile as often as real users have
// it. By weighted rendezvous hashing, the choice for a name changes only when
// the shares do, and then for few names: a decoy must look as constant as a
// real user. It returns nil if there is no profile.
func (p profiles) choose(secret []byte, name string) *User {
	var best *User
	least := math.Inf(1)
	for i := range p {
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte("decoy\x00" + p[i].key + "\x00" + name))
		var sum [sha256.Size]byte
		n := binary.BigEndian.Uint64(mac.Sum(sum[:0]))
		uniform := (float64(n>>11) + 0.5) / (1 << 53) // in (0, 1)
		if score := -math.Log(uniform) / p[i].weight; score < least {
			least, best = score, p[i].user
		}
	}
	return best
}

// Decoy returns a user whose Verify is always false and takes as long as a
// wrong password does for some real user of the table, the same one for the
// same secret and name. If no user has a credential there is nothing to hide,
// and it takes no time.
func (t *Table) Decoy(secret []byte, name string) *User { return t.decoys.decoy(secret, name) }

func (d decoys) decoy(secret []byte, name string) *User {
	like := d.password.choose(secret, name)
	if like == nil {
		return &User{Name: name, decoy: true}
	}
	return &User{Name: name, Credentials: like.all(), decoy: true}
}
