package passwd

import (
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
)

// pbkdf2SHA1 is Dovecot's PBKDF2: "$1$salt$rounds$hex" with HMAC-SHA-1, the
// salt as it is written.
type pbkdf2SHA1 struct {
	salt   []byte
	rounds int
	key    []byte
}

func parsePBKDF2(_, value string) (method, error) {
	f := strings.Split(value, "$")
	if len(f) != 5 || f[0] != "" || f[1] != "1" || f[2] == "" {
		return nil, errForm
	}
	if err := checkRounds(f[3], 1); err != nil {
		return nil, err
	}
	key, err := hex.DecodeString(f[4])
	if err != nil || len(key) != sha1.Size {
		return nil, errForm
	}
	rounds, _ := strconv.Atoi(f[3])
	return &pbkdf2SHA1{salt: []byte(f[2]), rounds: rounds, key: key}, nil
}

func (p *pbkdf2SHA1) cost() string { return "PBKDF2 " + strconv.Itoa(p.rounds) }

func (p *pbkdf2SHA1) verify(_ context.Context, password string) (bool, error) {
	key, err := pbkdf2.Key(sha1.New, password, p.salt, p.rounds, sha1.Size)
	if err != nil {
		return false, err
	}
	return subtle.ConstantTimeCompare(key, p.key) == 1, nil
}

// scramKey is Dovecot's SCRAM-SHA-256: "iterations,salt,stored,server", all
// but the first in base64.
type scramKey struct{ sasl.SCRAMCredential }

func parseSCRAM(_, value string) (method, error) {
	f := strings.Split(value, ",")
	if len(f) != 4 {
		return nil, errForm
	}
	if err := checkRounds(f[0], 1); err != nil {
		return nil, err
	}
	var k scramKey
	k.Iterations, _ = strconv.Atoi(f[0])
	for i, to := range []*[]byte{&k.Salt, &k.StoredKey, &k.ServerKey} {
		b, err := base64.StdEncoding.Strict().DecodeString(f[i+1])
		if err != nil {
			return nil, errors.New("salt or key is not base64")
		}
		*to = b
	}
	if len(k.Salt) > 255 {
		return nil, errors.New("the salt is longer than 255 octets")
	}
	if err := k.Validate(); err != nil {
		return nil, err
	}
	return &k, nil
}

func (k *scramKey) cost() string { return "SCRAM-SHA-256 " + strconv.Itoa(k.Iterations) }

// verify derives the keys as a client would (RFC 5802 section 3).
func (k *scramKey) verify(_ context.Context, password string) (bool, error) {
	derived, err := deriveKeys(password, k.Salt, k.Iterations)
	if err != nil {
		return false, err
	}
	return subtle.ConstantTimeCompare(derived.StoredKey, k.StoredKey) == 1, nil
}

// deriveSCRAM makes the keys of a password that is known: of what SASLprep makes of it, as clients
// should, and where that is another one of the password as it is, too.
func deriveSCRAM(password string, salt []byte, iterations int) (sasl.SCRAMCredential, error) {
	prepared := prepareSCRAM(password)
	keys, err := deriveKeys(prepared, salt, iterations)
	if err == nil && prepared != password {
		var also sasl.SCRAMCredential
		also, err = deriveKeys(password, salt, iterations)
		keys.Also = &also
	}
	return keys, err
}

// prepareSCRAM leaves a password that SASLprep forbids as it is.
func prepareSCRAM(password string) string {
	if p, err := sasl.PrepareStored(password); err == nil {
		return p
	}
	return password
}

// deriveKeys makes the keys of exactly this password.
func deriveKeys(password string, salt []byte, iterations int) (sasl.SCRAMCredential, error) {
	salted, err := pbkdf2.Key(sha256.New, password, salt, iterations, sha256.Size)
	if err != nil {
		return sasl.SCRAMCredential{}, fmt.Errorf("SCRAM-SHA-256: %w", err)
	}
	stored := sha256.Sum256(sign(salted, "Client Key"))
	return sasl.SCRAMCredential{
		Salt: salt, Iterations: iterations,
		StoredKey: stored[:], ServerKey: sign(salted, "Server Key"),
	}, nil
}

func sign(key []byte, text string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	return mac.Sum(nil)
}
