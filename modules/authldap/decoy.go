package authldap

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"

	"github.com/go-ldap/ldap/v3"
)

// decoy is what is bound as in place of a user who does not exist.
func (o *options) decoy(name string) string {
	if o.decoyDN != "" {
		return o.decoyDN
	}
	return o.nobody(name)
}

// nobody is a DN that stands in the same place as the user's and is nobody's.
func (o *options) nobody(name string) string {
	mac := hmac.New(sha256.New, o.secret)
	mac.Write([]byte("nobody\x00" + name))
	other := "nobody-" + hex.EncodeToString(mac.Sum(nil)[:12])
	if _, domain := split(name); domain != "" {
		other += "@" + domain
	}
	if !o.userDN.fixed() {
		dn, _ := o.userDN.expand(other)
		return dn
	}
	base, err := o.base.expand(name)
	if err != nil {
		base, _ = o.base.expand("nobody@invalid")
	}
	return "cn=" + ldap.EscapeDN(other) + "," + base
}
