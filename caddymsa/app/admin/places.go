package admin

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"

	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
)

// places is how far a history was read in the journal of each spool: what was told of it is at that place and after it.
// A spool of which nothing was told yet is not in it.
type places map[string]journal.Position

// placeName stands for a spool's key, which is none of the business of who passes a page's token on.
func placeName(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:6])
}

// checkSize is how many octets of a digest tell a token from what somebody has cut off or mistyped.
const checkSize = 4

// String is the token of the page behind.
func (p places) String() string {
	text, err := json.Marshal(p)
	if err != nil {
		panic(err) // they are texts
	}
	sum := sha256.Sum256(text)
	return base64.RawURLEncoding.EncodeToString(append(sum[:checkSize], text...))
}

var errNotToken = errors.New("it is not what an answer had as next")

func parsePlaces(token string) (p places, err error) {
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(b) < checkSize {
		return nil, errNotToken
	}
	sum := sha256.Sum256(b[checkSize:])
	if string(sum[:checkSize]) != string(b[:checkSize]) || json.Unmarshal(b[checkSize:], &p) != nil {
		return nil, errNotToken
	}
	return p, nil
}
