package app

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
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

// ordinal is how an operator says which one.
func ordinal(n int) string {
	words := []string{"zeroth", "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"}
	if n < len(words) {
		return words[n]
	}
	switch {
	case n%100/10 == 1:
	case n%10 == 1:
		return fmt.Sprintf("%dst", n)
	case n%10 == 2:
		return fmt.Sprintf("%dnd", n)
	case n%10 == 3:
		return fmt.Sprintf("%drd", n)
	}
	return fmt.Sprintf("%dth", n)
}

// itemError is the error of one policy, route or the like of a server, in the operator's words.
type itemError struct{ error }

func (e itemError) Unwrap() error { return e.error }

// item says which one of a server an error is about, as an operator counts, and where in the Caddyfile it is,
// if that is known.
func (srv *Server) item(which string, module json.RawMessage, err error) error {
	if err == nil {
		return nil
	}
	return itemError{fmt.Errorf("%s of server %s: %w", which, srv.name, placed(module, moduleError(module, err)))}
}

// position is how Caddy says which of a list of modules an error is about.
var position = regexp.MustCompile(`^position ([0-9]+): `)

// backendError names the backend that an error of Caddy's is about.
func (srv *Server) backendError(raws []json.RawMessage, err error) error {
	m := position.FindStringSubmatch(err.Error())
	if m == nil {
		return err
	}
	i, cerr := strconv.Atoi(m[1])
	if cerr != nil || i >= len(raws) {
		return err
	}
	return srv.item("the "+ordinal(i+1)+" auth backend", raws[i], errors.New(err.Error()[len(m[0]):]))
}

// placed adds to an error where the module is, if that is known.
func placed(module json.RawMessage, err error) error {
	places.Lock()
	place := places.at[placeKey(module)]
	places.Unlock()
	if place == "" {
		return err
	}
	return fmt.Errorf("%w, at %s", err, place)
}

// caddysWords are what Caddy puts before a module's own error.
var caddysWords = regexp.MustCompile(`^loading module '[^']*': (provision [a-z0-9_.]+: |decoding module config: [a-z0-9_.]+: |[a-z0-9_.]+: invalid configuration: )?`)

// moduleError is a module's error behind the module's name, which the operator wrote.
func moduleError(module json.RawMessage, err error) error {
	var m struct {
		Module string `json:"module"`
	}
	text := caddysWords.ReplaceAllString(err.Error(), "")
	if json.Unmarshal(module, &m) != nil || m.Module == "" || strings.HasPrefix(text, m.Module+": ") {
		return errors.New(text)
	}
	return errors.New(m.Module + ": " + text)
}

func placeKey(module json.RawMessage) [sha256.Size]byte {
	var b bytes.Buffer
	if json.Compact(&b, module) != nil {
		return sha256.Sum256(module)
	}
	return sha256.Sum256(b.Bytes())
}
