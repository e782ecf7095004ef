package passwd

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
)

// NewUser returns a user without credentials, for users that come from elsewhere than a
// users file: a database, a directory. The methods below add what a line would say; a name
// may contain a colon here. Errors repeat no secret.
func NewUser(name string) (User, error) {
	if err := CheckName(name); err != nil {
		return User{}, err
	}
	return User{Name: name}, nil
}

// CheckName says why no user can have the name. A name as clients send them that fails is
// simply unknown, and need not be looked for anywhere.
func CheckName(name string) error {
	if strings.ContainsFunc(name, unicode.IsControl) {
		return errors.New("control character in the user name")
	}
	return checkName(name)
}

// AddPassword adds what the password field of a line says: one or several credentials, or that
// the user is disabled. Here it may contain colons.
func (u *User) AddPassword(field string) error { return u.parsePassword(field) }

// AddHA1 adds an HA1 for DIGEST-MD5: 32 hexadecimal digits or 16 octets, of the whole name in
// the realm, or if that is empty of the name split at its last "@", as Dovecot does.
func (u *User) AddHA1(realm, value string) error {
	if len(value) == 16 {
		value = hex.EncodeToString([]byte(value))
	}
	var c Credential
	var err error
	if realm == "" {
		c, err = parseCredential(u.Name, "{DIGEST-MD5}"+value)
	} else {
		c, err = parseRealmCredential(u.Name, "DIGEST-MD5", realm, "{DIGEST-MD5.realm="+realm+"}"+value, value)
	}
	if err != nil {
		return err
	}
	u.Credentials = append(u.Credentials, c)
	return nil
}

// AddAddress adds one pattern of addresses that the user may send as.
func (u *User) AddAddress(pattern string) error {
	p, err := mailaddr.ParsePattern(pattern)
	if err != nil {
		return fmt.Errorf("addresses: %w", err)
	}
	u.Addresses = append(u.Addresses, p)
	return nil
}

// AddNet adds a network that the user may come from, or "local".
func (u *User) AddNet(net string) error {
	if err := u.parseNets(net); err != nil {
		return fmt.Errorf("allow_nets: %w", err)
	}
	return nil
}
