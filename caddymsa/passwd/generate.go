package passwd

import (
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-crypt/x/argon2"
	"github.com/go-crypt/x/bcrypt"

	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
)

// Options are the parameters of a new credential. Zero means the default.
type Options struct {
	// Rounds of SHA512-CRYPT, SHA256-CRYPT and PBKDF2 (default 100000),
	// SCRAM-SHA-256 (4096) and ARGON2ID (2), or the cost of BLF-CRYPT (10).
	Rounds int

	// Memory of ARGON2ID in KiB, default 19456 (19 MiB).
	Memory int

	// Parallelism of ARGON2ID, default 1.
	Parallelism int

	// Rand is where salts come from, default crypto/rand.
	Rand io.Reader
}

// DefaultScheme is the one for passwords that need serve only PLAIN and LOGIN.
const DefaultScheme = "ARGON2ID"

// Generate returns a new credential, "{SCHEME}value", for a line of user. The
// schemes are ARGON2ID, SCRAM-SHA-256, DIGEST-MD5, DIGEST-MD5.realm=R,
// SHA512-CRYPT, SHA256-CRYPT, BLF-CRYPT, PBKDF2 and PLAIN; "" is DefaultScheme.
// Hashes are made of the SASLprep form of the password, as PLAIN, LOGIN and
// SCRAM present it, DIGEST-MD5 of the password as it is.
func Generate(scheme, user, password string, opts Options) (string, error) {
	if scheme == "" {
		scheme = DefaultScheme
	}
	switch {
	case password == "":
		return "", errors.New("the password is empty")
	case !acceptable(password):
		return "", fmt.Errorf("the password has more than %d octets or a NUL", MaxPassword)
	}
	if err := checkName(user); err != nil {
		return "", err
	}
	name := upper(scheme)
	if i := strings.Index(name, realmOption); i >= 0 && name[:i] == "DIGEST-MD5" {
		realm := scheme[i+len(realmOption):]
		if realm == "" || strings.ContainsAny(realm, ":{}") {
			return "", errors.New("DIGEST-MD5.realm: the realm is empty or contains a colon or a brace")
		}
		return finish(user, "DIGEST-MD5.realm="+realm, hexHA1(user, realm, password))
	}
	switch name {
	case "DIGEST-MD5":
		local, realm := splitRealm(user)
		return finish(user, name, hexHA1(local, realm, password))
	case "PLAIN":
		if strings.ContainsAny(password, ":\t\r\n") || strings.Contains(password, " {") ||
			strings.TrimSpace(password) != password {
			return finish(user, "PLAIN.b64", base64.StdEncoding.EncodeToString([]byte(password)))
		}
		return finish(user, name, password)
	}
	prepared, err := sasl.PrepareStored(password)
	if err != nil {
		return "", fmt.Errorf("password: %w", err)
	}
	value, err := generateHash(name, prepared, opts)
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return finish(user, name, value)
}

func generateHash(name, password string, opts Options) (string, error) {
	source := opts.Rand
	if source == nil {
		source = rand.Reader
	}
	var random [16]byte
	if _, err := io.ReadFull(source, random[:]); err != nil {
		return "", err
	}
	rounds := opts.Rounds
	def := func(n int) int {
		if rounds == 0 {
			return n
		}
		return rounds
	}
	if rounds < 0 || rounds > maxRounds {
		return "", fmt.Errorf("%d rounds are not between 1 and %d", rounds, maxRounds)
	}
	switch name {
	case "ARGON2ID":
		return generateArgon2(password, random[:], def(2), opts)
	case "SCRAM-SHA-256":
		if n := def(SCRAMIterations); n < SCRAMIterations { // RFC 7677 section 4; Dovecot refuses it
			return "", fmt.Errorf("%d rounds are fewer than %d", n, SCRAMIterations)
		}
		k, err := deriveSCRAM(password, random[:], def(SCRAMIterations))
		if err != nil {
			return "", err
		}
		b64 := base64.StdEncoding.EncodeToString
		return fmt.Sprintf("%d,%s,%s,%s", k.Iterations, b64(k.Salt), b64(k.StoredKey), b64(k.ServerKey)), nil
	case "SHA512-CRYPT":
		return shaCrypt512.generate("6", password, random[:], def(100_000)), nil
	case "SHA256-CRYPT":
		return shaCrypt256.generate("5", password, random[:], def(100_000)), nil
	case "PBKDF2":
		salt := cryptSalt(random[:])
		key, err := pbkdf2.Key(sha1.New, password, salt, def(100_000), sha1.Size)
		return fmt.Sprintf("$1$%s$%d$%x", salt, def(100_000), key), err
	case "BLF-CRYPT":
		if len(password) > bcryptMost {
			return "", fmt.Errorf("the password has more than %d octets, of which the rest would not count", bcryptMost)
		}
		if n := def(10); n < 4 || n > maxBcryptCost {
			return "", fmt.Errorf("cost %d is not between 4 and %d", n, maxBcryptCost)
		}
		key, err := bcrypt.Key([]byte(password), random[:], def(10))
		return fmt.Sprintf("$2b$%02d$%s%s", def(10), bcrypt.Base64Encode(random[:]), key), err
	}
	return "", errUnknownScheme
}

var errUnknownScheme = errors.New("unknown scheme; there are ARGON2ID, SCRAM-SHA-256, DIGEST-MD5, DIGEST-MD5.realm=R, SHA512-CRYPT, SHA256-CRYPT, BLF-CRYPT, PBKDF2 and PLAIN")

// CheckScheme says, before there is a password, that Generate will not know a scheme.
func CheckScheme(scheme string) error {
	switch name := upper(scheme); name {
	case "", "ARGON2ID", "SCRAM-SHA-256", "DIGEST-MD5", "SHA512-CRYPT", "SHA256-CRYPT", "BLF-CRYPT", "PBKDF2", "PLAIN":
		return nil
	default:
		if strings.HasPrefix(name, "DIGEST-MD5"+realmOption) {
			return nil
		}
		return fmt.Errorf("%s: %w", name, errUnknownScheme)
	}
}

const bcryptMost = 72

func generateArgon2(password string, salt []byte, t int, opts Options) (string, error) {
	m, p := opts.Memory, opts.Parallelism
	if m == 0 {
		m = 19 * 1024
	}
	if p == 0 {
		p = 1
	}
	if t > maxPasses || p < 1 || p > maxLanes || m < 8*p || m > maxMemoryKiB {
		return "", fmt.Errorf("the parameters are out of bounds: memory from 8*p to %d KiB, rounds to %d, parallelism to %d", maxMemoryKiB, maxPasses, maxLanes)
	}
	key := argon2.IDKey([]byte(password), salt, uint32(t), uint32(m), uint32(p), 32)
	b64 := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=19$m=%d,t=%d,p=%d$%s$%s", m, t, p, b64(salt), b64(key)), nil
}

func (k *shaCryptKind) generate(id, password string, random []byte, rounds int) string {
	salt := cryptSalt(random)
	rounds = max(rounds, shaCryptMinRounds)
	return fmt.Sprintf("$%s$rounds=%d$%s$%s", id, rounds, salt, k.key([]byte(password), salt, rounds))
}

// cryptSalt makes a salt of as many characters as there are random octets.
func cryptSalt(random []byte) []byte {
	salt := make([]byte, len(random))
	for i, b := range random {
		salt[i] = cryptAlphabet[b&0x3f]
	}
	return salt
}

func hexHA1(user, realm, password string) string {
	sum := ha1(user, realm, password)
	return hex.EncodeToString(sum[:])
}

// finish writes the credential, and reads it again: what is written to a users
// file must parse.
func finish(user, scheme, value string) (string, error) {
	s := "{" + scheme + "}" + value
	if len(splitCredentials(s)) != 1 || strings.Contains(s, ":") {
		return "", errors.New("the scheme cannot stand in a users file")
	}
	if _, err := parseCredential(user, s); err != nil {
		return "", err
	}
	return s, nil
}

// FormatLine returns the line of a users file for credentials of Generate and,
// if there are any, what the user may send as. It parses.
func FormatLine(user string, credentials, addresses []string) (string, error) {
	if strings.ContainsAny(user, ":") || strings.HasPrefix(user, "#") {
		return "", errors.New(`a user name in a users file contains no ":" and does not begin with "#"`)
	}
	line := user + ":" + strings.Join(credentials, " ")
	if len(addresses) > 0 {
		line += "::::::addresses=" + strings.Join(addresses, ",")
	}
	u, err := ParseLine(line)
	if err != nil {
		return "", err
	}
	if len(u.Credentials) != len(credentials) || len(u.Addresses) != len(addresses) || u.Disabled {
		return "", errUnwritable
	}
	for i, c := range u.Credentials {
		if c.secret().stored != credentials[i] {
			return "", errUnwritable
		}
	}
	for i, a := range u.Addresses {
		if a.String() != addresses[i] {
			return "", errUnwritable
		}
	}
	return line, nil
}

var errUnwritable = errors.New("a credential or an address cannot stand in a users file")
