package app

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"sync"
)

// places has where in a Caddyfile the modules stand that were adapted last, by their JSON. A
// module that is refused at load can so be named with file and line, if this process adapted it.
var places = struct {
	sync.Mutex
	at map[[sha256.Size]byte]string
}{at: make(map[[sha256.Size]byte]string)}

// maxPlaces bounds what is remembered over many reloads.
const maxPlaces = 10_000

// Remember keeps where in a Caddyfile a module stands.
func Remember(module json.RawMessage, place string) {
	places.Lock()
	defer places.Unlock()
	if len(places.at) >= maxPlaces {
		clear(places.at)
	}
	places.at[placeKey(module)] = place
}

// placed adds to an error where the module stands, if that is known.
func placed(module json.RawMessage, err error) error {
	places.Lock()
	place := places.at[placeKey(module)]
	places.Unlock()
	if place == "" || err == nil {
		return err
	}
	return fmt.Errorf("%w, at %s", err, place)
}

func placeKey(module json.RawMessage) [sha256.Size]byte {
	var b bytes.Buffer
	if json.Compact(&b, module) != nil {
		return sha256.Sum256(module)
	}
	return sha256.Sum256(b.Bytes())
}
