package passwd

import (
	"errors"
	"testing"
)

// What is said of a scheme beforehand is what Generate says of it.
func TestCheckScheme(t *testing.T) {
	for _, scheme := range []string{"", "argon2id", "SCRAM-SHA-256", "DIGEST-MD5", "digest-md5.realm=R", "SHA512-CRYPT", "SHA256-CRYPT", "BLF-CRYPT", "PBKDF2", "PLAIN",
		"BANANA", "PLAIN.realm=R", "DIGEST-MD5.banana", " PLAIN", "ARGON2ID,PLAIN"} {
		_, err := Generate(scheme, "alice@example.org", "secret", Options{})
		if before := CheckScheme(scheme); errors.Is(err, errUnknownScheme) != errors.Is(before, errUnknownScheme) || (before == nil) != (err == nil) {
			t.Errorf("%q: %v beforehand, then %v", scheme, before, err)
		}
	}
}
