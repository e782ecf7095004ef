package authldap

import (
	"encoding/base64"
	"strings"
)

// schemes that directories write otherwise than users files do (RFC 2307 section 5.3).
var schemes = map[string]string{
	"MD5":    "LDAP-MD5", // elsewhere MD5 is a kind of crypt(3)
	"ARGON2": "ARGON2ID", // which takes both kinds; the value says which
	"BCRYPT": "BLF-CRYPT",
}

const scramKey = "SCRAM-SHA-256"

// credential turns a value of userPassword, or of authPassword (RFC 5803), into the password field of
// a users file. A value without a scheme is a clear password.
func credential(value string) string {
	if rest, ok := strings.CutPrefix(value, scramKey+"$"); ok {
		return scram(rest)
	}
	scheme, rest, ok := strings.Cut(value, "}")
	if !ok || !strings.HasPrefix(scheme, "{") {
		return clearPassword(value)
	}
	scheme = strings.ToUpper(scheme[1:])
	switch {
	case schemes[scheme] != "":
		scheme = schemes[scheme]
	case scheme == "CLEARTEXT" || scheme == "CLEAR" || scheme == "PLAIN":
		return clearPassword(rest)
	case scheme == scramKey && strings.Contains(rest, "$"):
		return scram(rest)
	}
	return "{" + scheme + "}" + rest
}

// clearPassword is encoded, so that nothing in it has a meaning.
func clearPassword(password string) string {
	return "{PLAIN.b64}" + base64.StdEncoding.EncodeToString([]byte(password))
}

// scram turns iterations:salt$StoredKey:ServerKey (RFC 5803 section 2) into what users files have.
func scram(value string) string {
	return "{" + scramKey + "}" + strings.NewReplacer(":", ",", "$", ",").Replace(strings.TrimSpace(value))
}
