package admin

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/names"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// filter says which entries are meant. Its zero value means all.
type filter struct {
	user, sender, recipient, server, state, cause, lane string
	older, newer                                        time.Time
	words                                               []string // each is somewhere in it
}

// parseFilter reads the words of a filter: user and server (both whole, the user in any case), sender (<> for notifications), recipient and error (parts,
// whose case does not matter), word (a part of any of these or of the id; several must all be there), state (queued, held, dead), older and newer (than a duration).
// An empty one is an error: who meant to name a user would get what all have. So is one that is there twice, but for words.
func parseFilter(q url.Values) (*filter, error) {
	f := &filter{user: q.Get("user"), server: q.Get("server"), state: q.Get("state"),
		sender: strings.ToLower(q.Get("sender")), recipient: strings.ToLower(bare(q.Get("recipient"))), cause: strings.ToLower(q.Get("error")), lane: q.Get("lane")}
	if f.sender != "<>" {
		f.sender = bare(f.sender)
	}
	if q.Has("recipient") && strings.TrimSpace(f.recipient) == "" { // as any empty one below
		return nil, errors.New("recipient: it is empty; leave it out where any will do")
	}
	switch f.state {
	case "", adminapi.StateQueued, adminapi.StateHeld, adminapi.StateDead:
	default:
		return nil, fmt.Errorf("state: %q is not a state; use queued, held or dead", f.state)
	}
	for name, values := range q {
		if name != "after" && name != "limit" && slices.ContainsFunc(values, func(v string) bool { return strings.TrimSpace(v) == "" }) {
			return nil, fmt.Errorf("%s: it is empty; leave it out where any will do", name)
		}
		if len(values) > 1 && name != "word" { // only one would be heeded
			return nil, fmt.Errorf("%s: it is specified twice", name)
		}
		switch name {
		case "word":
			for _, word := range values {
				f.words = append(f.words, strings.ToLower(word))
			}
		case "user", "server", "state", "sender", "recipient", "error", "lane", "after", "limit":
		case "older", "newer":
			age, err := conf.ParseDuration(q.Get(name))
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			if age <= 0 {
				return nil, fmt.Errorf("%s: %q is not an age (for example 30m, 2h or 3d)", name, q.Get(name))
			}
			at := time.Now().Add(-age)
			if name == "older" {
				f.older = at
			} else {
				f.newer = at
			}
		default:
			return nil, fmt.Errorf("unknown filter %q; there are user, server, state, sender, recipient, error, lane, word, older and newer", name)
		}
	}
	return f, nil
}

func (f *filter) match(m *queue.EntryView) bool {
	e := m.Entry
	return (f.user == "" || names.Same(e.User, f.user)) && (f.server == "" || strings.EqualFold(m.Server(), f.server)) && (f.state == "" || adminapi.EntryState(m) == f.state) &&
		(f.sender == "" || f.sender == "<>" && e.Sender == "" || strings.Contains(strings.ToLower(e.Sender), f.sender)) &&
		(f.older.IsZero() || e.Accepted.Before(f.older)) && (f.newer.IsZero() || e.Accepted.After(f.newer)) &&
		(f.lane == "" || slices.ContainsFunc(m.Jobs, func(j queue.Job) bool { return j.Pending() && j.Lane == f.lane })) &&
		(f.recipient == "" || slices.ContainsFunc(e.Recipients, func(r queue.Recipient) bool { return strings.Contains(strings.ToLower(r.Address), f.recipient) })) &&
		!slices.ContainsFunc(f.words, func(word string) bool { return !says(m, word) }) &&
		(f.cause == "" || slices.ContainsFunc(m.Jobs, f.failed))
}

// failed tells whether a recipient of the job, or of the copy that it is of, has the error.
func (f *filter) failed(j queue.Job) bool {
	return slices.ContainsFunc(j.Recipients, func(r queue.Recipient) bool { return strings.Contains(strings.ToLower(r.Error), f.cause) })
}

// says tells whether a word is anywhere in what is known of a message.
func says(m *queue.EntryView, word string) bool {
	has := func(text string) bool { return strings.Contains(strings.ToLower(text), word) }
	e := m.Entry
	return has(e.ID) || has(e.User) || has(e.Sender) || has(e.RemoteIP) || has(e.Helo) || has(m.Status.Held) ||
		slices.ContainsFunc(e.Recipients, func(r queue.Recipient) bool { return has(r.Address) }) ||
		slices.ContainsFunc(m.Jobs, func(j queue.Job) bool {
			return j.Pending() && has(j.Lane) || slices.ContainsFunc(j.Recipients, func(r queue.Recipient) bool { return has(r.Error) })
		})
}
