package sasl

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/xdg-go/scram"
)

// SCRAMCredential is what a server stores for a user of SCRAM-SHA-256 (RFC
// 5802 section 3): enough to check a password, not enough to log in with.
type SCRAMCredential struct {
	Salt       []byte // at least one octet
	Iterations int    // of PBKDF2; RFC 7677 wants 4096 or more, Validate 1
	StoredKey  []byte // 32 octets
	ServerKey  []byte // 32 octets

	// Also are keys, of the same salt and iterations, of the password as it was typed: where it is known,
	// SASLprep changes it, and a client might not. Nil: there are none.
	Also *SCRAMCredential
}

// String hides the keys.
func (c SCRAMCredential) String() string {
	return fmt.Sprintf("SCRAM-SHA-256 (%d iterations, keys REDACTED)", c.Iterations)
}

// GoString hides the keys.
func (c SCRAMCredential) GoString() string { return c.String() }

// Validate reports a credential that cannot work.
func (c SCRAMCredential) Validate() error {
	switch {
	case len(c.Salt) == 0:
		return errors.New("SCRAM credential: no salt")
	case c.Iterations < 1:
		return errors.New("SCRAM credential: no iteration count")
	case len(c.StoredKey) != sha256.Size || len(c.ServerKey) != sha256.Size:
		return fmt.Errorf("SCRAM credential: keys are not %d octets", sha256.Size)
	}
	return nil
}

// NewSCRAMCredential derives the keys of password, which it runs through
// SASLprep first. It costs the given number of PBKDF2 iterations.
func NewSCRAMCredential(password string, salt []byte, iterations int) (SCRAMCredential, error) {
	if len(salt) == 0 || iterations < 1 {
		return SCRAMCredential{}, errors.New("SCRAM credential: salt and iteration count are required")
	}
	prepared, err := PrepareStored(password)
	if err != nil {
		return SCRAMCredential{}, fmt.Errorf("password: %w", err)
	}
	client, err := scram.SHA256.NewClientUnprepped("", prepared, "")
	if err != nil {
		return SCRAMCredential{}, err
	}
	stored, err := client.GetStoredCredentialsWithError(scram.KeyFactors{Salt: string(salt), Iters: iterations})
	if err != nil {
		return SCRAMCredential{}, fmt.Errorf("SCRAM credential: %w", err)
	}
	return SCRAMCredential{
		Salt: salt, Iterations: iterations,
		StoredKey: stored.StoredKey, ServerKey: stored.ServerKey,
	}, nil
}

// What a decoy looks like when nothing else is said: RFC 7677's least.
const (
	decoyIterations = 4096
	decoySalt       = 16
)

// DecoySCRAM returns a credential that no password fits, for a user who does
// not exist. The same secret, user and parameters always give the same one, so
// that it looks as constant as a real one; who does not know secret cannot
// tell. iterations and saltLen should be those of real users; zero or less
// means 4096 and 16, and a salt has 255 octets at most.
func DecoySCRAM(secret []byte, user string, iterations, saltLen int) SCRAMCredential {
	if iterations <= 0 {
		iterations = decoyIterations
	}
	if saltLen <= 0 {
		saltLen = decoySalt
	}
	saltLen = min(saltLen, 255)
	stream := make([]byte, 0, 255+3*sha256.Size)
	for block := uint32(0); len(stream) < saltLen+2*sha256.Size; block++ {
		mac := hmac.New(sha256.New, secret)
		mac.Write(binary.BigEndian.AppendUint32([]byte("scram decoy"), block))
		mac.Write([]byte(user))
		stream = mac.Sum(stream)
	}
	keys := stream[saltLen:]
	return SCRAMCredential{
		Salt: stream[:saltLen:saltLen], Iterations: iterations,
		StoredKey: keys[:sha256.Size:sha256.Size], ServerKey: keys[sha256.Size : 2*sha256.Size],
	}
}

// processSecret serves decoys where the caller has not given any.
var processSecret = sync.OnceValue(func() []byte {
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // never fails
	return secret
})

// TLSExporter returns the channel binding data of a TLS connection, 32 octets
// of exported keying material (RFC 9266). It fails where that must not be
// used: TLS 1.2 without extended master secret. SCRAM-SHA-256-PLUS must not be
// announced then.
func TLSExporter(state *tls.ConnectionState) ([]byte, error) {
	if state == nil || !state.HandshakeComplete {
		return nil, errors.New("channel binding: no finished TLS handshake")
	}
	data, err := state.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32)
	if err != nil {
		return nil, fmt.Errorf("channel binding: %w", err)
	}
	return data, nil
}
