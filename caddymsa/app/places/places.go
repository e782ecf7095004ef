// Package places says where in a Caddyfile stands what is refused when a configuration is loaded, and which one of
// its kind it is, as an operator counts.
package places

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"strings"
	"sync"
)

// known has where the modules and servers stand that were adapted last, by their JSON: what is refused can so be named with
// file and line, if this process adapted it.
var known = struct {
	sync.Mutex
	modules map[[sha256.Size]byte]string
	servers map[[sha256.Size]byte]Lines
}{modules: make(map[[sha256.Size]byte]string), servers: make(map[[sha256.Size]byte]Lines)}

// most bounds what is remembered over many reloads.
const most = 10_000

// Lines are where a server's settings stand, by their names behind those of the blocks that they are in, as in auth/mechanisms.
// The empty name is the server's own place.
type Lines map[string]string

// Remember keeps where a module stands, or something else that is known by its JSON.
func Remember(module json.RawMessage, place string) {
	known.Lock()
	defer known.Unlock()
	if len(known.modules) >= most {
		clear(known.modules)
	}
	known.modules[sum(module)] = place
}

// RememberServer keeps where the settings of a server stand.
func RememberServer(server json.RawMessage, lines Lines) {
	known.Lock()
	defer known.Unlock()
	if len(known.servers) >= most {
		clear(known.servers)
	}
	known.servers[sum(server)] = lines
}

// Forget is called when a configuration was loaded, or was not: one that comes next may have the same modules on other lines,
// and where it was adapted by another process, as caddy reload does, nothing is known of those.
func Forget() {
	known.Lock()
	defer known.Unlock()
	clear(known.modules)
	clear(known.servers)
}

// OfServer is nil where that is not known.
func OfServer(server json.RawMessage) Lines {
	known.Lock()
	defer known.Unlock()
	return known.servers[sum(server)]
}

// Of is where a module stands, if that is known.
func Of(module json.RawMessage) string {
	known.Lock()
	defer known.Unlock()
	return known.modules[sum(module)]
}

// placedError says where it is about.
type placedError struct {
	err   error
	place string
}

func (e *placedError) Error() string { return e.err.Error() + ", at " + e.place }
func (e *placedError) Unwrap() error { return e.err }

// At adds a place to an error, if it is known and the error has none yet.
func At(place string, err error) error {
	if _, placed := errors.AsType[*placedError](err); placed || err == nil || place == "" {
		return err
	}
	return &placedError{err, place}
}

// Cut takes the place from an error.
func Cut(err error) (place string, rest error) {
	if placed, ok := errors.AsType[*placedError](err); ok {
		return placed.place, errors.New(strings.Replace(err.Error(), placed.Error(), placed.err.Error(), 1))
	}
	return "", err
}

// Find is where the setting stands that an error is about, which begins with its name, behind those of the blocks that
// it is in: limits: recipients: 5 is too few. It is where the innermost of them stands that is in the Caddyfile.
func (l Lines) Find(err error) string {
	place, path := l[""], ""
	for word := range strings.SplitSeq(err.Error(), ": ") {
		word, _, _ = strings.Cut(word, " ")
		at, ok := l[path+word]
		if !ok {
			break
		}
		place, path = at, path+word+"/"
	}
	return place
}

func sum(object json.RawMessage) [sha256.Size]byte {
	var b bytes.Buffer
	if json.Compact(&b, object) != nil {
		return sha256.Sum256(object)
	}
	return sha256.Sum256(b.Bytes())
}
