package passwd

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"runtime"
	"strconv"
	"strings"

	"github.com/go-crypt/crypt/algorithm"
	"github.com/go-crypt/crypt/algorithm/argon2"
	"github.com/go-crypt/crypt/algorithm/bcrypt"
	"github.com/go-crypt/crypt/algorithm/md5crypt"
	"github.com/go-crypt/crypt/algorithm/scrypt"
	"github.com/go-crypt/crypt/algorithm/sha1crypt"
)

// What one check may cost at most: a mistyped parameter must not stop the
// server. All are far above what anybody uses.
const (
	maxRounds     = 10_000_000 // SHA-crypt, sha1crypt, PBKDF2, SCRAM: some seconds
	maxBcryptCost = 18         // some tens of seconds
	maxMemoryKiB  = 1 << 20    // Argon2, yescrypt: 1 GiB
	maxPasses     = 256        // Argon2
	maxLanes      = 64         // Argon2
)

var errForm = errors.New("the value does not have the form of the scheme")

// hashed is a password hash of go-crypt's.
type hashed struct {
	digest algorithm.Digest
	params string // for cost
	most   int    // octets of the password that count; 0 = all
	memory bool   // it needs much of it
}

func (h *hashed) cost() string { return h.params }

func (h *hashed) verify(ctx context.Context, password string) (ok bool, err error) {
	if h.most > 0 && len(password) > h.most {
		password = password[:h.most]
	}
	if h.memory {
		select {
		case memorySlots <- struct{}{}:
		case <-ctx.Done():
			return false, ctx.Err()
		}
		defer func() { <-memorySlots }()
	}
	if ok, err = h.digest.MatchAdvanced(password); err != nil {
		return false, errors.New("the hash cannot be computed") // the cause may quote it
	}
	return ok, nil
}

// memorySlots bounds how many checks that need much memory run at a time: more
// than there are processors would not be faster.
var memorySlots = make(chan struct{}, runtime.GOMAXPROCS(0))

// cryptWith parses a crypt(3) hash with one of the prefixes; "" is any.
func cryptWith(prefixes ...string) func(user, value string) (method, error) {
	return func(_, value string) (method, error) {
		for _, p := range prefixes {
			if strings.HasPrefix(value, p) {
				return parseCrypt(value)
			}
		}
		return nil, fmt.Errorf("the value does not begin with %s", strings.Join(prefixes, " or "))
	}
}

func parseCrypt(value string) (method, error) {
	if value == "" || value[0] != '$' {
		return nil, errors.New("the value does not begin with $6$ or another known prefix; DES is not supported")
	}
	id, rest, _ := strings.Cut(value[1:], "$")
	switch id {
	case "6":
		return parseSHACrypt(shaCrypt512, rest)
	case "5":
		return parseSHACrypt(shaCrypt256, rest)
	case "2a", "2b", "2y":
		return parseBcrypt(value, rest)
	case "1":
		return parseMD5Crypt(value, rest)
	case "y":
		return parseYescrypt(value, rest)
	case "sha1":
		return parseSHA1Crypt(value, rest)
	}
	return nil, errors.New("unknown kind of hash")
}

// isOtherCrypt tells whether the value is a hash of crypt(3), of a kind that is too weak or too rare:
// DES, extended DES, and those of libxcrypt beside the ones above.
func isOtherCrypt(value string) bool {
	if len(value) == 13 || len(value) == 20 && value[0] == '_' {
		return isCryptBase64(strings.TrimPrefix(value, "_"))
	}
	for _, prefix := range []string{"$2$", "$2x$", "$3$", "$7$", "$gy$", "$md5"} {
		if strings.HasPrefix(value, prefix) {
			return true
		}
	}
	return false
}

func parseBcrypt(value, rest string) (method, error) {
	cost, key, _ := strings.Cut(rest, "$")
	n, err := strconv.Atoi(cost)
	if err != nil || len(cost) != 2 || len(key) != 53 || !isCryptBase64(key) {
		return nil, errForm
	}
	if n < 4 || n > maxBcryptCost {
		return nil, fmt.Errorf("cost %d is not between 4 and %d", n, maxBcryptCost)
	}
	d, err := bcrypt.Decode(value)
	if err != nil {
		return nil, errForm
	}
	return &hashed{digest: d, params: "BLF-CRYPT " + cost, most: bcrypt.PasswordInputSizeMax}, nil
}

func parseMD5Crypt(value, rest string) (method, error) {
	salt, key, ok := strings.Cut(rest, "$")
	if !ok || len(salt) > 8 || len(key) != 22 || !isCryptBase64(key) {
		return nil, errForm
	}
	d, err := md5crypt.DecodeVariant(md5crypt.VariantStandard)(value)
	if err != nil {
		return nil, errForm
	}
	return &hashed{digest: d, params: "MD5-CRYPT"}, nil
}

func parseSHA1Crypt(value, rest string) (method, error) {
	f := strings.Split(rest, "$")
	if len(f) != 3 || f[1] == "" || len(f[1]) > 64 || len(f[2]) != 28 || !isCryptBase64(f[2]) {
		return nil, errForm
	}
	if err := checkRounds(f[0], 1); err != nil {
		return nil, err
	}
	d, err := sha1crypt.Decode(value)
	if err != nil {
		return nil, errForm
	}
	return &hashed{digest: d, params: "sha1crypt " + f[0]}, nil
}

// parseYescrypt takes what libxcrypt writes: flags "j", then log2(N) and r as
// one character each.
func parseYescrypt(value, rest string) (method, error) {
	f := strings.Split(rest, "$")
	if len(f) != 3 || len(f[0]) != 3 || f[0][0] != 'j' || !isCryptBase64(f[0]) ||
		len(f[1]) > 86 || !isCryptBase64(f[1]) || len(f[2]) != 43 || !isCryptBase64(f[2]) {
		return nil, errForm
	}
	logN, r := strings.IndexByte(cryptAlphabet, f[0][1])+1, strings.IndexByte(cryptAlphabet, f[0][2])+1
	if logN < 10 || logN+bits.Len(uint(r-1))+7 > 10+bits.Len(maxMemoryKiB-1) {
		return nil, errors.New("the parameters are not supported")
	}
	d, err := scrypt.DecodeVariant(scrypt.VariantYescrypt)(value)
	if err != nil {
		return nil, errForm
	}
	return &hashed{digest: d, params: "yescrypt " + f[0], memory: true}, nil
}

// parseArgon2 takes "$argon2id$v=19$m=19456,t=2,p=1$salt$key".
func parseArgon2(_, value string) (method, error) {
	f := strings.Split(value, "$")
	if len(f) != 6 || f[0] != "" || f[1] != "argon2id" && f[1] != "argon2i" || f[2] != "v=19" || len(f[4]) < 11 || len(f[5]) < 16 {
		return nil, errForm
	}
	var m, t, p uint32
	if n, err := fmt.Sscanf(f[3], "m=%d,t=%d,p=%d", &m, &t, &p); n != 3 || err != nil ||
		f[3] != fmt.Sprintf("m=%d,t=%d,p=%d", m, t, p) {
		return nil, errForm
	}
	if t < 1 || p < 1 || p > maxLanes || m < 8*p || m > maxMemoryKiB || t > maxPasses || len(value) > 512 {
		return nil, fmt.Errorf("the parameters are out of bounds: m from 8*p to %d, t to %d, p to %d", maxMemoryKiB, maxPasses, maxLanes)
	}
	d, err := argon2.Decode(value)
	if err != nil {
		return nil, errForm
	}
	return &hashed{digest: d, params: f[1] + " " + f[3], memory: true}, nil
}

func checkRounds(s string, least int) error {
	n, err := strconv.Atoi(s)
	switch {
	case err != nil || strconv.Itoa(n) != s:
		return errForm
	case n < least || n > maxRounds:
		return fmt.Errorf("%d rounds are not between %d and %d", n, least, maxRounds)
	}
	return nil
}

// cryptAlphabet is crypt(3)'s base64.
const cryptAlphabet = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

func isCryptBase64(s string) bool {
	for i := range len(s) {
		if strings.IndexByte(cryptAlphabet, s[i]) < 0 {
			return false
		}
	}
	return true
}
