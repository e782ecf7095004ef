package httpconsole

import (
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
)

// search is what of queue and journal is looked for. Where a search cannot be of one of them, its query is nil.
type search struct {
	queue, history url.Values
	problem        string
}

// term is a word of a search, with what it is about.
type term struct{ key, value string }

var termForm = regexp.MustCompile(`(?:([a-z_]+):)?(?:"([^"]*)"?|(\S+))`)

// terms takes a search apart: words, and key:value, where what has blanks is in quotes.
func terms(q string) (all []term) {
	for _, m := range termForm.FindAllStringSubmatch(q, -1) {
		key, value := m[1], m[2]+m[3]
		if _, known := keys[key]; !known && key != "" {
			key, value = "", key+":"+value
		}
		if value != "" {
			all = append(all, term{key, value})
		}
	}
	return all
}

// keys say what a key means.
var keys = map[string]func(s *search, value string){
	"": func(s *search, value string) {
		switch {
		case isID.MatchString(value) && !s.history.Has("id"):
			s.queue.Add("word", value)
			s.history.Set("id", value)
		case isAddress(value) && !s.history.Has("address"):
			s.queue.Add("word", value)
			s.history.Set("address", value)
		default:
			s.both("word", value)
		}
	},
	"from": func(s *search, value string) {
		sender := strings.Trim(value, "<>")
		if sender == "" {
			sender = "<>"
		}
		s.queue.Set("sender", sender)
		s.address("sender", value)
	},
	"to": func(s *search, value string) {
		s.queue.Set("recipient", strings.Trim(value, "<>"))
		s.address("recipient", value)
	},
	"user":   func(s *search, value string) { s.both("user", value) },
	"server": func(s *search, value string) { s.both("server", value) },
	"error":  func(s *search, value string) { s.both("error", value) },
	"lane":   func(s *search, value string) { s.queue.Set("lane", value); s.history.Add("word", value) },
	"id":     func(s *search, value string) { s.queue.Add("word", value); s.history.Set("id", strings.ToUpper(value)) },
	"hop":    func(s *search, value string) { s.queue = nil; s.history.Set("hop_id", value) },
	"state":  func(s *search, value string) { s.state(strings.ToLower(value)) },
	"older":  func(s *search, value string) { s.age("older", "until", value) },
	"newer":  func(s *search, value string) { s.age("newer", "since", value) },
}

var isID = regexp.MustCompile(`^[0-9A-Z]{16}$`)

func isAddress(s string) bool {
	_, err := mailaddr.Parse(s, true)
	return err == nil && strings.Contains(s, "@")
}

func parseSearch(q string) *search {
	s := &search{queue: make(url.Values), history: make(url.Values)}
	seen := make(map[string]bool)
	for _, t := range terms(q) {
		if seen[t.key] && t.key != "" { // one of them would be found, and acted upon, without the other
			s.problem = t.key + ": is there twice; leave one of them."
		}
		seen[t.key] = true
		was := s.queue
		if was == nil {
			s.queue = make(url.Values) // what it cannot be asked stays out of it
		}
		keys[t.key](s, t.value)
		if was == nil {
			s.queue = nil
		}
	}
	return s
}

func (s *search) both(name, value string) {
	s.queue.Add(name, value)
	s.history.Add(name, value)
}

// address asks the journal for a whole address, which it has an index of, or for a part of one.
func (s *search) address(name, value string) {
	if value == "<>" || isAddress(strings.Trim(value, "<>")) {
		s.history.Set(name, value)
		return
	}
	word := strings.Trim(value, "<>")
	if word == "" {
		s.problem = value + " is neither an address nor a part of one."
		return
	}
	s.history.Add("word", word)
}

// state is one of the queue, or a kind of facts, or both.
func (s *search) state(value string) {
	inQueue := slices.Contains([]string{adminapi.StateQueued, adminapi.StateHeld, adminapi.StateDead}, value)
	inHistory := slices.Contains(journal.Kinds, journal.Kind(value))
	switch {
	case inQueue:
		s.queue.Set("state", value)
	default:
		s.queue = nil
	}
	switch {
	case inHistory:
		s.history.Set("state", value)
	case inQueue:
		s.history.Set("state", "none")
	default:
		s.problem = "state:" + value + " is not known; there are queued, held, dead and " + kindNames() + "."
	}
}

func kindNames() string {
	names := make([]string, len(journal.Kinds))
	for i, k := range journal.Kinds {
		names[i] = string(k)
	}
	return strings.Join(names, ", ")
}

// age is how long ago the message came, or the fact was.
func (s *search) age(inQueue, inHistory, value string) {
	if d, err := conf.ParseDuration(value); err != nil || d < time.Duration(0) {
		s.problem = value + " is not a duration, such as 30m, 2h or 3d."
		return
	}
	s.queue.Set(inQueue, value)
	s.history.Set(inHistory, value)
}
