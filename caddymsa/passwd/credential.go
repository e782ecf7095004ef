package passwd

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/text/unicode/norm"

	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
)

// Credential is one stored password, in any scheme. ParseLine makes them.
type Credential struct {
	scheme string // as written, in upper case, without the encoding

	// secret is a function because no printing of a surrounding value by
	// reflection, which finds no method in an unexported field, sees through one.
	secret func() secret
}

type secret struct {
	stored string // as written: for the fingerprint
	method method
}

func newCredential(scheme, stored string, m method) Credential {
	return Credential{scheme: scheme, secret: func() secret { return secret{stored, m} }}
}

func (c Credential) method() method { return c.secret().method }

// method is what the schemes differ in.
type method interface {
	// verify compares in constant time. password has neither NUL nor more than
	// MaxPassword octets. It may wait for its turn until ctx ends.
	verify(ctx context.Context, password string) (bool, error)

	// cost names everything that the time of verify depends on, beside the
	// password: credentials of the same cost take the same time.
	cost() string
}

// MaxPassword is the longest password in octets. The time that SHA-crypt needs
// grows with the square of the length: the limit keeps that from being a
// weapon. What Dovecot's hashes see ends at 511 or 72 octets anyway.
const MaxPassword = 1024

// Scheme returns the name of the scheme, "ARGON2ID" or "DIGEST-MD5.realm=R".
func (c Credential) Scheme() string { return c.scheme }

// Verify reports whether password, in one of its forms, is the stored one. It takes the same time for every wrong password of the same length and as
// many forms. An error means that it could not be checked.
func (c Credential) Verify(password string) (bool, error) {
	return c.verify(context.Background(), forms(password))
}

// forms are sasl.PasswordForms, and last the password with its accents as characters of their own: one may
// have been hashed where keyboards type it so. It costs a wrong guess one more hash, and only where there
// are accents; servers are not asked about it, since they may count each question as a guess.
func forms(password string) []string {
	all := sasl.PasswordForms(password)
	if apart := norm.NFD.String(password); !slices.Contains(all, apart) {
		all = append(all, apart)
	}
	return all
}

func (c Credential) verify(ctx context.Context, forms []string) (bool, error) {
	for _, password := range forms {
		if !acceptable(password) {
			continue
		}
		ok, err := c.method().verify(ctx, password)
		if err != nil {
			return false, fmt.Errorf("%s: %w", c.scheme, err)
		}
		if ok {
			return true, nil
		}
	}
	return false, nil
}

// acceptable tells whether any stored credential could be for password.
// crypt(3) ends at a NUL, SASL does not send one.
func acceptable(password string) bool {
	return len(password) <= MaxPassword && strings.IndexByte(password, 0) < 0
}

// encoding is how a value is written in the file.
type encoding int

const (
	asText encoding = iota
	asBase64
	asHex
)

// scheme is one of the table below.
type scheme struct {
	encoding encoding // where the file names none
	octets   int      // of the decoded value, where that is fixed; 0 = it is not
	parse    func(user, value string) (method, error)
}

var schemes = map[string]scheme{
	"ARGON2ID":      {parse: parseArgon2},
	"ARGON2I":       {parse: parseArgon2},
	"BLF-CRYPT":     {parse: cryptWith("$2a$", "$2b$", "$2y$")},
	"SHA512-CRYPT":  {parse: cryptWith("$6$")},
	"SHA256-CRYPT":  {parse: cryptWith("$5$")},
	"MD5-CRYPT":     {parse: cryptWith("$1$")},
	"MD5":           {parse: parseMD5},
	"CRYPT":         {parse: cryptWith("")},
	"PBKDF2":        {parse: parsePBKDF2},
	"SCRAM-SHA-256": {parse: parseSCRAM},
	"DIGEST-MD5":    {parse: parseDigest, encoding: asHex, octets: hashMD5.size},
	"PLAIN":         {parse: parseClear},
	"CLEAR":         {parse: parseClear},
	"CLEARTEXT":     {parse: parseClear},
	"SHA":           digestScheme(hashSHA1, false, asBase64),
	"SHA1":          digestScheme(hashSHA1, false, asBase64),
	"SHA256":        digestScheme(hashSHA256, false, asBase64),
	"SHA512":        digestScheme(hashSHA512, false, asBase64),
	"SSHA":          digestScheme(hashSHA1, true, asBase64),
	"SSHA256":       digestScheme(hashSHA256, true, asBase64),
	"SSHA512":       digestScheme(hashSHA512, true, asBase64),
	"SMD5":          digestScheme(hashMD5, true, asBase64),
	"PLAIN-MD5":     plainMD5,
	"LDAP-MD5":      digestScheme(hashMD5, false, asBase64),
}

// unsupported are the other schemes of Dovecot, and those of OpenLDAP, Cyrus and crypt(3): they cannot check a
// password, or not here, or nobody should store them.
var unsupported = map[string]bool{
	"CRAM-MD5": true, "HMAC-MD5": true, "SCRAM-SHA-1": true, "OTP": true, "DES-CRYPT": true, "PLAIN-MD4": true,
	"PLAIN-TRUNC": true, "LANMAN": true, "NTLM": true, "RPA": true, "APOP": true, "SKEY": true,
	"SCRAM-SHA-512": true, "SCRAM-SHA-1-PLUS": true, "SCRAM-SHA-256-PLUS": true, "NS-MTA-MD5": true, "GSSAPI": true, "KERBEROS": true, "SASL": true,
	"ARGON2": true, "ARGON2D": true, "SCRYPT": true, "YESCRYPT": true, "GOST-YESCRYPT": true, "BCRYPT": true, "SM3-CRYPT": true, "EXT-DES-CRYPT": true, "BSDI-CRYPT": true,
	"SHA224": true, "SHA384": true, "SSHA224": true, "SSHA384": true, "SHA3-224": true, "SHA3-256": true, "SHA3-384": true, "SHA3-512": true,
	"PBKDF2-SHA1": true, "PBKDF2-SHA256": true, "PBKDF2-SHA512": true,
}

// errUnsupported is of a credential that is sound and of no use here: a matter of that user, not of the
// file that it is in.
type errUnsupported struct{ scheme string }

func (e errUnsupported) Error() string {
	return fmt.Sprintf("password: scheme %s is not supported, so that the user cannot log in with it; write a new one with: caddy msa user", e.scheme)
}

const realmOption = ".REALM="

// parseCredential parses "{SCHEME}value" or a CRYPT value of user. Errors do
// not repeat the value.
func parseCredential(user, s string) (Credential, error) {
	name, value := "CRYPT", s
	written, hasScheme := "", false
	if rest, ok := strings.CutPrefix(s, "{"); ok {
		if written, value, hasScheme = strings.Cut(rest, "}"); !hasScheme {
			return Credential{}, errors.New(`password: "}" is missing after the scheme`)
		}
		name = upper(written)
	}
	if i := strings.Index(name, realmOption); i >= 0 {
		return parseRealmCredential(user, name[:i], written[i+len(realmOption):], s, value)
	}
	name, suffix, _ := strings.Cut(name, ".")
	sch, ok := schemes[name]
	switch {
	case unsupported[name]:
		return Credential{}, errUnsupported{name}
	case !ok:
		return Credential{}, errors.New("password: unknown scheme; a clear password that contains \":\" or \" {\" is written with {PLAIN.b64}")
	}
	raw, err := decodeValue(value, suffix, sch)
	if err != nil {
		return Credential{}, fmt.Errorf("password: %s: %w", name, err)
	}
	m, err := sch.parse(user, raw)
	if name == "CRYPT" && isOtherCrypt(raw) && (hasScheme || raw[0] == '$') { // thirteen letters alone may be a clear password
		return Credential{}, errUnsupported{"CRYPT of this kind"}
	}
	if err != nil && !hasScheme && strings.HasPrefix(raw, "$") { // {PLAIN} before a hash would make the hash the password
		return Credential{}, errors.New(`password: it has no scheme, which means CRYPT, and is not a CRYPT hash that is known here, as Apache's $apr1$ is not; make another with: caddy msa user, or htpasswd -B`)
	}
	if err != nil && !hasScheme {
		return Credential{}, errors.New(`password: it has no scheme, which means CRYPT, and is not a CRYPT hash; write {PLAIN} before a clear password`)
	}
	if err != nil {
		return Credential{}, fmt.Errorf("password: %s: %w", name, err)
	}
	return newCredential(name, s, m), nil
}

func parseRealmCredential(user, name, realm, stored, value string) (Credential, error) {
	if name != "DIGEST-MD5" {
		return Credential{}, errors.New("password: only DIGEST-MD5 takes a realm")
	}
	if realm == "" {
		return Credential{}, errors.New("password: DIGEST-MD5.realm: a realm is required")
	}
	raw, err := decodeValue(value, "", schemes["DIGEST-MD5"])
	if err != nil {
		return Credential{}, fmt.Errorf("password: DIGEST-MD5: %w", err)
	}
	m, err := newDigest(user, realm, raw)
	if err != nil {
		return Credential{}, fmt.Errorf("password: DIGEST-MD5: %w", err)
	}
	return newCredential("DIGEST-MD5.realm="+realm, stored, m), nil
}

// decodeValue undoes the encoding that the suffix names, or that the scheme has.
func decodeValue(value, suffix string, sch scheme) (string, error) {
	enc := sch.encoding
	switch suffix {
	case "":
		switch len(value) { // As Dovecot does, either is recognised by its length.
		case 2 * sch.octets:
			enc = asHex
		case base64.StdEncoding.EncodedLen(sch.octets):
			enc = asBase64
		}
	case "B64", "BASE64":
		enc = asBase64
	case "HEX":
		enc = asHex
	default:
		return "", errors.New("unknown encoding; there are .b64 and .hex")
	}
	var raw []byte
	var err error
	switch enc {
	case asBase64:
		raw, err = base64.StdEncoding.Strict().DecodeString(value)
		if err != nil {
			return "", errors.New("the value is not base64")
		}
	case asHex:
		raw, err = hex.DecodeString(value)
		if err != nil {
			return "", errors.New("the value is not hexadecimal")
		}
	default:
		return value, nil
	}
	return string(raw), nil
}

// upper is strings.ToUpper for ASCII, which keeps the length.
func upper(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'a' <= c && c <= 'z' {
			b[i] = c - 'a' + 'A'
		}
	}
	return string(b)
}
