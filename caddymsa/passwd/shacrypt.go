package passwd

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"hash"
	"strconv"
	"strings"
)

// shaCrypt is SHA-crypt (Ulrich Drepper, "Unix crypt using SHA-256 and
// SHA-512"). It is written out here, and not go-crypt's, because every AUTH of
// a busy server runs it: this one allocates nothing in its rounds and takes as
// long as their hash blocks do, which is 0.6 of go-crypt's time.
type shaCrypt struct {
	kind   *shaCryptKind
	rounds int
	salt   string
	key    string
}

type shaCryptKind struct {
	name    string
	new     func() hash.Hash
	keySize int    // encoded
	order   []byte // of the octets in the encoding, three by three
}

var (
	shaCrypt512 = &shaCryptKind{name: "SHA512-CRYPT", new: sha512.New, keySize: 86, order: []byte{
		42, 21, 0, 1, 43, 22, 23, 2, 44, 45, 24, 3, 4, 46, 25, 26, 5, 47, 48, 27, 6, 7, 49, 28, 29, 8, 50, 51, 30, 9, 10, 52,
		31, 32, 11, 53, 54, 33, 12, 13, 55, 34, 35, 14, 56, 57, 36, 15, 16, 58, 37, 38, 17, 59, 60, 39, 18, 19, 61, 40, 41, 20, 62, 63}}
	shaCrypt256 = &shaCryptKind{name: "SHA256-CRYPT", new: sha256.New, keySize: 43, order: []byte{
		20, 10, 0, 11, 1, 21, 2, 22, 12, 23, 13, 3, 14, 4, 24, 5, 25, 15, 26, 16, 6, 17, 7, 27, 8, 28, 18, 29, 19, 9, 30, 31}}
)

const (
	shaCryptRounds    = 5000 // where none are named
	shaCryptMinRounds = 1000
	shaCryptMaxSalt   = 16
)

// parseSHACrypt parses what follows "$6$" or "$5$": "[rounds=N$]salt$key".
func parseSHACrypt(kind *shaCryptKind, rest string) (method, error) {
	s := &shaCrypt{kind: kind, rounds: shaCryptRounds}
	if n, ok := strings.CutPrefix(rest, "rounds="); ok {
		n, rest, _ = strings.Cut(n, "$")
		if err := checkRounds(n, shaCryptMinRounds); err != nil {
			return nil, err
		}
		s.rounds, _ = strconv.Atoi(n)
	}
	var ok bool
	s.salt, s.key, ok = strings.Cut(rest, "$")
	if !ok || len(s.salt) > shaCryptMaxSalt || len(s.key) != kind.keySize || !isCryptBase64(s.key) {
		return nil, errForm
	}
	return s, nil
}

func (s *shaCrypt) cost() string { return s.kind.name + " " + strconv.Itoa(s.rounds) }

func (s *shaCrypt) verify(_ context.Context, password string) (bool, error) {
	key := s.kind.key([]byte(password), []byte(s.salt), s.rounds)
	return subtle.ConstantTimeCompare(key, []byte(s.key)) == 1, nil
}

// key computes the encoded key. The letters are those of the specification.
func (k *shaCryptKind) key(password, salt []byte, rounds int) []byte {
	h := k.new()
	var bufA, bufB [sha512.Size]byte

	h.Write(password)
	h.Write(salt)
	h.Write(password)
	b := h.Sum(bufB[:0])

	h.Reset()
	h.Write(password)
	h.Write(salt)
	h.Write(repeat(b, len(password)))
	for n := len(password); n > 0; n >>= 1 {
		if n&1 != 0 {
			h.Write(b)
		} else {
			h.Write(password)
		}
	}
	a := h.Sum(bufA[:0])

	h.Reset()
	for range password {
		h.Write(password)
	}
	p := repeat(h.Sum(bufB[:0]), len(password))

	h.Reset()
	for range 16 + int(a[0]) {
		h.Write(salt)
	}
	s := repeat(h.Sum(bufB[:0]), len(salt))

	for i := range rounds {
		h.Reset()
		if i&1 != 0 {
			h.Write(p)
		} else {
			h.Write(a)
		}
		if i%3 != 0 {
			h.Write(s)
		}
		if i%7 != 0 {
			h.Write(p)
		}
		if i&1 != 0 {
			h.Write(a)
		} else {
			h.Write(p)
		}
		a = h.Sum(bufA[:0])
	}
	return k.encode(a)
}

// repeat returns n octets of sum, over and over.
func repeat(sum []byte, n int) []byte {
	out := make([]byte, 0, n+len(sum))
	for len(out) < n {
		out = append(out, sum...)
	}
	return out[:n]
}

// encode writes a in crypt(3)'s base64: three octets are four characters, the
// lowest six bits first.
func (k *shaCryptKind) encode(a []byte) []byte {
	out := make([]byte, 0, k.keySize)
	put := func(v uint, n int) {
		for range n {
			out = append(out, cryptAlphabet[v&0x3f])
			v >>= 6
		}
	}
	o := k.order
	for ; len(o) >= 3; o = o[3:] {
		put(uint(a[o[2]])<<16|uint(a[o[1]])<<8|uint(a[o[0]]), 4)
	}
	switch len(o) {
	case 1: // SHA-512: octet 63
		put(uint(a[o[0]]), 2)
	case 2: // SHA-256: octets 31 and 30
		put(uint(a[o[1]])<<8|uint(a[o[0]]), 3)
	}
	return out
}
