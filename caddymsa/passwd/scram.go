package passwd

import (
	"crypto/hmac"
	"crypto/sha256"
	"net/netip"

	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
)

// SCRAMIterations is how many iterations keys are derived with from a clear
// password, and the default for new ones (RFC 7677 section 4).
const SCRAMIterations = 4096

const scramSaltLen = 16

// SCRAM returns the stored SCRAM-SHA-256 key, else one that is derived from the
// clear password and the salt of salt, which must be the same each time. ok is
// false if there is neither.
//
// A derived key is not kept, though that would save half a millisecond: the
// second exchange would be faster than the first, and faster than a decoy's.
func (u *User) SCRAM(salt func(name string) []byte) (key sasl.SCRAMCredential, ok bool, err error) {
	if u.decoy {
		return sasl.SCRAMCredential{}, false, nil
	}
	for _, c := range u.Credentials {
		if k, ok := c.method().(*scramKey); ok {
			return k.SCRAMCredential, true, nil
		}
	}
	password, ok := u.Plain()
	if !ok {
		return sasl.SCRAMCredential{}, false, nil
	}
	key, err = deriveSCRAM(password, salt(u.Name), SCRAMIterations)
	return key, err == nil, err
}

// SCRAM returns the key of a user and the user; or nil and a decoy's key, if
// there is no such user, it is disabled, has no key, or may not come from there
// (the zero Addr is a unix socket). A decoy's key is the same for the same
// secret and name, has the parameters of some real user and costs the same.
func (t *Table) SCRAM(secret []byte, name string, from netip.Addr) (sasl.SCRAMCredential, *User, error) {
	name = t.fold.Key(name)                      // a decoy is the same in any spelling, as a user is
	decoy := t.decoys.scram.choose(secret, name) // in any case, for the time it takes
	return scram(secret, name, t.find(name).soleApp().active(from), decoy)
}

// scram returns the key of u, or a decoy's like that of decoy; both may be nil.
func scram(secret []byte, name string, u, decoy *User) (sasl.SCRAMCredential, *User, error) {
	salt := func(name string) []byte { return scramSalt(secret, name) }
	if u != nil {
		key, ok, err := u.SCRAM(salt)
		if err != nil {
			return sasl.SCRAMCredential{}, nil, err
		}
		if ok {
			return key, u, nil
		}
	}
	if decoy == nil {
		return sasl.DecoySCRAM(secret, name, SCRAMIterations, scramSaltLen), nil, nil
	}
	like, _, err := decoy.SCRAM(salt) // with its cost
	if err != nil {
		return sasl.SCRAMCredential{}, nil, err
	}
	key := sasl.DecoySCRAM(secret, name, like.Iterations, len(like.Salt))
	return key, nil, nil
}

// soleApp is the user as it is with the only secret that it has, if that is an application password. u may be nil.
func (u *User) soleApp() *User {
	if u != nil && len(u.Credentials) == 0 && len(u.Apps) == 1 {
		return u.with(&u.Apps[0])
	}
	return u
}

// scramSalt is the salt of a clear password.
func scramSalt(secret []byte, name string) []byte {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte("scram salt\x00" + name))
	return mac.Sum(nil)[:scramSaltLen]
}
