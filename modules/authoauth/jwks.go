package authoauth

import (
	"encoding/json"

	"github.com/go-jose/go-jose/v4"
)

// oidcKeys is a JSON Web Key Set whose keys are looked at one by one: those that are not
// understood should be passed over (RFC 7517 section 5).
type oidcKeys struct {
	Keys []json.RawMessage `json:"keys"`
}

func (k oidcKeys) usable() []jose.JSONWebKey {
	keys := make([]jose.JSONWebKey, 0, len(k.Keys))
	for _, raw := range k.Keys {
		var key jose.JSONWebKey
		if key.UnmarshalJSON(raw) == nil && key.Valid() {
			keys = append(keys, key)
		}
	}
	return keys
}
