package tally

import (
	"container/list"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
)

// What is kept of refusals at most: so many that differ, so many of one network, so many octets of a text.
const (
	maxRefusals  = 1000
	maxOfNetwork = 100
	maxText      = 200
)

// Refusals keeps those of late. The zero value is ready.
type Refusals struct {
	mu       sync.Mutex
	kept     map[alike]*list.Element
	latest   list.List      // of *adminapi.Refusals, the latest first
	networks map[string]int // how many of each
}

// alike are refusals that are one with a count.
type alike struct{ server, network, user, moment, rule string }

// Add keeps one more; of r the Count, First and Last are not read.
func (s *Refusals) Add(now time.Time, r adminapi.Refusals) {
	for _, text := range []*string{&r.User, &r.Rule, &r.IP, &r.Helo, &r.Reply, &r.Cause} {
		*text = cut(*text)
	}
	key := alike{r.Server, r.Network, r.User, r.Moment, r.Rule}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kept == nil {
		s.kept, s.networks = make(map[alike]*list.Element), make(map[string]int)
	}
	r.Count, r.First, r.Last = 1, now, now
	if e := s.kept[key]; e != nil {
		before := e.Value.(*adminapi.Refusals)
		r.Count, r.First = before.Count+1, before.First
		e.Value = &r
		s.latest.MoveToFront(e)
		return
	}
	switch {
	case s.networks[r.Network] >= maxOfNetwork:
		s.forgetOldest(r.Network, true)
	case len(s.kept) >= maxRefusals:
		s.forgetOldest("", false)
	}
	s.kept[key] = s.latest.PushFront(&r)
	s.networks[r.Network]++
}

// forgetOldest forgets the oldest of a network, or of all.
func (s *Refusals) forgetOldest(network string, ofIt bool) {
	for e := s.latest.Back(); e != nil; e = e.Prev() {
		r := e.Value.(*adminapi.Refusals)
		if ofIt && r.Network != network {
			continue
		}
		s.latest.Remove(e)
		delete(s.kept, alike{r.Server, r.Network, r.User, r.Moment, r.Rule})
		if s.networks[r.Network]--; s.networks[r.Network] == 0 {
			delete(s.networks, r.Network)
		}
		return
	}
}

// All returns them, the latest first.
func (s *Refusals) All() []adminapi.Refusals {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]adminapi.Refusals, 0, s.latest.Len())
	for e := s.latest.Front(); e != nil; e = e.Next() {
		all = append(all, *e.Value.(*adminapi.Refusals))
	}
	return all
}

// cut shortens a text, between characters.
func cut(s string) string {
	if len(s) <= maxText {
		return s
	}
	n := maxText
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}
