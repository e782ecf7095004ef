package sasl

import (
	"crypto/md5" // RFC 2831 is built on it
	"crypto/subtle"
	"encoding/hex"
)

// DigestHA1 returns MD5(user:realm:password), which is all that a server must
// store for DIGEST-MD5 and all that an attacker must steal. Each of the three
// texts (UTF-8) is hashed as ISO 8859-1 where it fits into that, as RFC 2831
// section 2.1.2.1 wants; it makes no difference for ASCII.
func DigestHA1(user, realm, password string) [16]byte {
	return ha1(latin1OrSame(user), latin1OrSame(realm), latin1OrSame(password))
}

func ha1(user, realm, password string) [16]byte {
	return md5.Sum([]byte(user + ":" + realm + ":" + password))
}

// digestInput is what both sides of an exchange hash besides the HA1.
type digestInput struct {
	nonce, cnonce, uri string
	authzid            *string // nil = the directive is absent
}

// sum computes the response-value of RFC 2831 section 2.1.2.1 with qop=auth
// and the first nonce count, for a2 "AUTHENTICATE:" or, in rspauth, ":".
func (in *digestInput) sum(ha1 [16]byte, a2 string) string {
	a1 := string(ha1[:]) + ":" + in.nonce + ":" + in.cnonce
	if in.authzid != nil {
		a1 += ":" + *in.authzid
	}
	return hexMD5(hexMD5(a1) + ":" + in.nonce + ":00000001:" + in.cnonce + ":auth:" + hexMD5(a2+in.uri))
}

func (in *digestInput) response(ha1 [16]byte) string { return in.sum(ha1, "AUTHENTICATE:") }
func (in *digestInput) rspauth(ha1 [16]byte) string  { return in.sum(ha1, ":") }

func hexMD5(s string) string {
	sum := md5.Sum([]byte(s))
	return hex.EncodeToString(sum[:])
}

func equalConstantTime(a, b string) bool {
	return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1
}

// toLatin1 converts UTF-8 to ISO 8859-1; ok is false where s does not fit.
func toLatin1(s string) (latin1 string, ok bool) {
	out := make([]byte, 0, len(s))
	for _, r := range s {
		if r > 0xff {
			return "", false // U+FFFD of invalid UTF-8 included
		}
		out = append(out, byte(r))
	}
	return string(out), true
}

func latin1OrSame(s string) string {
	if l, ok := toLatin1(s); ok {
		return l
	}
	return s
}

// fromLatin1 converts ISO 8859-1 to UTF-8.
func fromLatin1(s string) string {
	out := make([]rune, len(s))
	for i := range len(s) {
		out[i] = rune(s[i])
	}
	return string(out)
}

// encodings lists the ways in which clients hash s: as it is, and in
// ISO 8859-1 where it fits and differs.
func encodings(s string) []string {
	if l, ok := toLatin1(s); ok && l != s {
		return []string{l, s}
	}
	return []string{s}
}
