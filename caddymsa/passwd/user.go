package passwd

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"sync"

	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
	"github.com/caddy-msa/caddy-msa/caddymsa/names"
)

// User is one line of a users file.
type User struct {
	// Name is what the user logs in with, in any case unless the Table says otherwise.
	Name string

	// Credentials are the stored passwords; any of them will do. Without one
	// the user cannot log in with a password.
	Credentials []Credential

	// Apps are further secrets, each of which has a name.
	Apps []AppPassword

	// Addresses are those that the user may send as, beside Name where that is
	// an address.
	Addresses []mailaddr.Pattern

	// Attributes are facts for policies and matchers.
	Attributes map[string]string

	// AllowNets and AllowLocal are where the user may come from: networks, and
	// unix sockets. With neither there is no restriction.
	AllowNets  []netip.Prefix
	AllowLocal bool

	// Disabled users are treated as unknown.
	Disabled bool

	// Problem is why a credential is of no use here. Nil: there is none. A user who has no other
	// credential is disabled.
	Problem error

	barred bool // Disabled for want of a credential of use, and for nothing else

	app  *AppPassword // that Credentials are of, in what With returns,
	base *User        // of this user

	decoy bool   // never verifies
	sum   uint64 // of its line
}

// Verify reports whether password is one of the stored ones. A wrong password
// takes the time of all credentials together; so does any password of a decoy,
// for which the answer is false. An error means that a credential could not be
// checked and no other fitted. Disabled is not looked at: see Table.Check.
func (u *User) Verify(password string) (bool, error) {
	return u.verify(context.Background(), password)
}

func (u *User) verify(ctx context.Context, password string) (bool, error) {
	found, err := u.match(ctx, password, func(*AppPassword) error { return nil })
	return found != nil, err
}

// match returns the user, or what With returns for the application password that it is. A wrong
// password takes the time of all of them, also if only one may match, and so does a right one that refuse says may not be used.
func (u *User) match(ctx context.Context, password string, refuse func(*AppPassword) error) (*User, error) {
	all := forms(password)
	var failed, refused error
	try := func(credentials []Credential) bool {
		for _, c := range credentials {
			ok, err := c.verify(ctx, all)
			if err != nil {
				failed = err
			}
			if ok && !u.decoy {
				return true
			}
		}
		return false
	}
	base := u
	if u.base != nil {
		base = u.base
	}
	if try(base.Credentials) && u.app == nil {
		return u, nil
	}
	for i := range base.Apps {
		if a := &base.Apps[i]; try(a.Credentials) && (u.app == nil || u.app == a) {
			why := refuse(a)
			if why == nil {
				return base.with(a), nil
			}
			refused = why
		}
	}
	return nil, cmp.Or(refused, failed)
}

// AllowedFrom reports whether the user may come from ip; the zero Addr is a
// unix socket.
func (u *User) AllowedFrom(ip netip.Addr) bool {
	if len(u.AllowNets) == 0 && !u.AllowLocal {
		return true
	}
	if !ip.IsValid() {
		return u.AllowLocal
	}
	ip = ip.Unmap().WithZone("")
	for _, net := range u.AllowNets {
		if net.Contains(ip) {
			return true
		}
	}
	return false
}

// Plain returns the clear password, of the first credential that has one.
func (u *User) Plain() (password string, ok bool) {
	if u.decoy {
		return "", false
	}
	for _, c := range u.Credentials {
		if m, ok := c.method().(*clear); ok {
			return m.password, true
		}
	}
	return "", false
}

// Fingerprint changes when a credential or Disabled does, or their order. It
// can be compared within one process only: it is keyed with a secret of that
// process, so that who sees it cannot guess passwords with it.
func (u *User) Fingerprint() string {
	mac := hmac.New(sha256.New, fingerprintKey())
	if u.Disabled {
		mac.Write([]byte{1})
	} else {
		mac.Write([]byte{0})
	}
	if u.app != nil {
		mac.Write([]byte(names.Fold(u.app.Label)))
	}
	for _, c := range u.Credentials {
		stored := c.secret().stored
		mac.Write(binary.BigEndian.AppendUint64(nil, uint64(len(stored))))
		mac.Write([]byte(stored))
	}
	return hex.EncodeToString(mac.Sum(nil))
}

var fingerprintKey = sync.OnceValue(func() []byte {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	return key
})
