package passwd

import (
	"context"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
)

// clear is a password in clear text. Both it and its SASLprep form will do.
type clear struct {
	password      string
	sum, prepared [sha256.Size]byte // equal lengths for the comparison
}

func parseClear(_, value string) (method, error) {
	if value == "" {
		return nil, errors.New("the password is empty")
	}
	if !acceptable(value) {
		return nil, fmt.Errorf("the password has more than %d octets or a NUL", MaxPassword)
	}
	c := &clear{password: value, sum: sha256.Sum256([]byte(value))}
	c.prepared = c.sum
	if p, err := sasl.PrepareQuery(value); err == nil {
		c.prepared = sha256.Sum256([]byte(p))
	}
	return c, nil
}

func (c *clear) verify(_ context.Context, password string) (bool, error) {
	sum := sha256.Sum256([]byte(password))
	return subtle.ConstantTimeCompare(sum[:], c.sum[:])|subtle.ConstantTimeCompare(sum[:], c.prepared[:]) == 1, nil
}

func (c *clear) cost() string { return "PLAIN" }

// digest is an HA1 (RFC 2831 section 2.1.2.1): MD5 of user:realm:password.
type digest struct {
	user, realm string
	ha1         [md5.Size]byte
}

func parseDigest(name, raw string) (method, error) {
	user, realm := splitRealm(name)
	return newDigest(user, realm, raw)
}

func newDigest(user, realm, raw string) (method, error) {
	if len(raw) != md5.Size {
		return nil, fmt.Errorf("the value has %d octets, not %d", len(raw), md5.Size)
	}
	return &digest{user: user, realm: realm, ha1: [md5.Size]byte([]byte(raw))}, nil
}

func (d *digest) verify(_ context.Context, password string) (bool, error) {
	got, latin1 := ha1(d.user, d.realm, password), sasl.DigestHA1(d.user, d.realm, password)
	return subtle.ConstantTimeCompare(got[:], d.ha1[:])|subtle.ConstantTimeCompare(latin1[:], d.ha1[:]) == 1, nil
}

// GenerateEach returns the new credentials of a scheme: one, or two of DIGEST-MD5 where what is hashed has letters beyond ASCII that
// ISO 8859-1 knows. RFC 2831 (section 2.1.2.1) has them hashed in that, as gsasl and Cyrus do; curl and Dovecot hash UTF-8.
func GenerateEach(scheme, user, password string, opts Options) ([]string, error) {
	made, err := Generate(scheme, user, password, opts)
	if err != nil {
		return nil, err
	}
	c, err := parseCredential(user, made)
	if err != nil {
		return nil, err
	}
	all := []string{made}
	if d, ok := c.method().(*digest); ok {
		if latin1 := sasl.DigestHA1(d.user, d.realm, password); latin1 != d.ha1 {
			all = append(all, "{"+c.Scheme()+"}"+hex.EncodeToString(latin1[:]))
		}
	}
	return all, nil
}

func (d *digest) cost() string { return "DIGEST-MD5" }

func ha1(user, realm, password string) [md5.Size]byte {
	return md5.Sum([]byte(user + ":" + realm + ":" + password))
}

// Hash functions of the schemes that are one hash and nothing more.
type hashFunc struct {
	name string
	size int
	sum  func([]byte) []byte
}

var (
	hashMD5    = hashFunc{"MD5", md5.Size, func(b []byte) []byte { s := md5.Sum(b); return s[:] }}
	hashSHA1   = hashFunc{"SHA1", sha1.Size, func(b []byte) []byte { s := sha1.Sum(b); return s[:] }}
	hashSHA256 = hashFunc{"SHA256", sha256.Size, func(b []byte) []byte { s := sha256.Sum256(b); return s[:] }}
	hashSHA512 = hashFunc{"SHA512", sha512.Size, func(b []byte) []byte { s := sha512.Sum512(b); return s[:] }}
)

// simple is one hash of the password and a salt, which may be empty.
type simple struct {
	hash      hashFunc
	sum, salt []byte
}

func digestScheme(h hashFunc, salted bool, enc encoding) scheme {
	s := scheme{encoding: enc, parse: func(_, raw string) (method, error) {
		if len(raw) < h.size || !salted && len(raw) > h.size || salted && len(raw) == h.size {
			return nil, fmt.Errorf("the value has %d octets: too few or too many", len(raw))
		}
		return &simple{hash: h, sum: []byte(raw[:h.size]), salt: []byte(raw[h.size:])}, nil
	}}
	if !salted {
		s.octets = h.size
	}
	return s
}

// plainMD5 is the MD5 of the password alone.
var plainMD5 = digestScheme(hashMD5, false, asHex)

// parseMD5 reads what Dovecot and OpenLDAP call MD5: a hash of crypt(3), or the MD5 of the password alone.
func parseMD5(user, value string) (method, error) {
	if raw, err := decodeValue(value, "", plainMD5); err == nil {
		return plainMD5.parse(user, raw)
	}
	return cryptWith("$1$")(user, value)
}

func (s *simple) verify(_ context.Context, password string) (bool, error) {
	got := s.hash.sum(append([]byte(password), s.salt...))
	return subtle.ConstantTimeCompare(got, s.sum) == 1, nil
}

func (s *simple) cost() string { return s.hash.name }
