package spoolfile

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// salvaged is what can be had of a message that is damaged.
type salvaged struct {
	id      string // or a file's name, if it is not known
	problem string
	entry   *queue.Entry // nil: it cannot be read
	octets  []byte       // header and body; nil: they cannot be read
	altered bool         // some octets are not what they were
	cut     bool         // there is only the header that this server added
}

// salvage calls found for each message that is damaged: those in the spool, which must be open, and those that were set
// aside. All that is whole is in the spool already: opening it has put it there.
func (s *Store) salvage(ctx context.Context, found func(*salvaged) error) error {
	if _, _, err := s.Check(ctx, func(int) {}, func(string, string) {}); err != nil { // reads all
		return err
	}
	s.damage.mu.Lock()
	messages, aside := maps.Clone(s.damage.messages), maps.Clone(s.damage.aside)
	s.damage.mu.Unlock()
	stores := make(map[string]*collection)
	var raws []raw
	for name := range aside {
		c, err := collect(s.fs, s.fs.PathJoin(s.path(asideDir), name, "store"), nil, true)
		if notThere(err) {
			continue // the operator has removed it, or it was something else that was set aside
		}
		if err != nil {
			return err
		}
		stores[name] = c
		raws = append(raws, c.raws...)
	}
	seen := make(map[string]bool)
	for _, id := range slices.Sorted(maps.Keys(messages)) {
		seen[id] = true
		if err := found(s.salvageHere(id, messages[id], raws)); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(aside)) {
		if c := stores[name]; c != nil {
			if err := c.salvage(aside[name], seen, found); err != nil {
				return err
			}
		}
		if err := s.salvageBodies(s.fs.PathJoin(s.path(asideDir), name, "bodies"), found); err != nil {
			return err
		}
	}
	return nil
}

// salvageHere gets what can be had of a message in the spool.
func (s *Store) salvageHere(id, problem string, raws []raw) *salvaged {
	x := &salvaged{id: id, problem: problem, altered: true}
	e := s.schedule.find(id)
	if e == nil {
		return x
	}
	if m, err := s.read(e); err == nil {
		x.entry = m.entry
	}
	eng, err := s.engine()
	if err != nil {
		return x
	}
	x.octets, _ = eng.get(bodyKey(id)) // nil if it cannot be read
	if e.file != 0 {
		b, _ := readFile(s.fs, s.bodyFile(e.file)) // what cannot be read is zeros
		x.octets, x.cut = append(x.octets, b...), len(b) == 0
	}
	if x.octets == nil {
		x.octets = guess(raws, id, nil)
	}
	return x
}

// salvage gets what can be had of the messages in a store that was set aside.
func (c *collection) salvage(r *asideReport, seen map[string]bool, found func(*salvaged) error) error {
	envelopes, bodies := make(map[string]*envelope), make(map[string][]byte)
	take := func(key, value []byte) error {
		id := string(key[1:])
		if r.Lost[id] == "" {
			return nil
		}
		switch key[0] {
		case envelopePrefix:
			if v, err := decodeEnvelope(bytes.Clone(value)); err == nil {
				envelopes[id] = v
			}
		case bodyPrefix:
			bodies[id] = bytes.Clone(value)
		}
		return nil
	}
	if err := c.each(take); err != nil {
		return err
	}
	for key, value := range c.found {
		_ = take([]byte(key), value)
	}
	for _, id := range slices.Sorted(maps.Keys(r.Lost)) {
		if seen[id] {
			continue
		}
		seen[id] = true
		x := &salvaged{id: id, problem: r.Lost[id], octets: bodies[id]}
		v := envelopes[id]
		if v != nil {
			x.entry, _ = v.decode()
		}
		if x.octets == nil {
			x.octets, x.altered = guess(c.raws, id, v), true
		}
		if err := found(x); err != nil {
			return err
		}
	}
	return nil
}

// salvageBodies gets the files of which no envelope is known.
func (s *Store) salvageBodies(dir string, found func(*salvaged) error) error {
	names, err := s.fs.List(dir)
	if err != nil {
		return nil //nolint:nilerr // there are none
	}
	slices.Sort(names)
	for _, name := range names {
		b, _ := readFile(s.fs, s.fs.PathJoin(dir, name)) // what cannot be read is zeros
		x := &salvaged{id: "body-" + strings.TrimSuffix(name, bodySuffix), problem: "no envelope is known of it; it may never have been accepted", octets: b}
		if err := found(x); err != nil {
			return err
		}
	}
	return nil
}

// guess finds a message in damaged octets by its id, which its first field has: as many octets as it had, or up to
// the end of what looks like text.
func guess(raws []raw, id string, v *envelope) []byte {
	for _, r := range raws {
		at := bytes.Index(r.octets, []byte(" id "+id))
		if at < 0 {
			continue
		}
		from := bytes.LastIndex(r.octets[:at], []byte("Received: "))
		if from < 0 {
			continue
		}
		b := r.octets[from:]
		if v != nil && v.summed && int(v.bodyLen) <= len(b) {
			return b[:v.bodyLen]
		}
		if end := bytes.IndexByte(b, 0); end > 0 {
			b = b[:end]
		}
		return b
	}
	return nil
}

var errNotRecovered = errors.New("some messages could not be recovered whole")
