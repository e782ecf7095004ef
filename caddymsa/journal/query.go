package journal

import (
	"slices"
	"strings"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
	"github.com/caddy-msa/caddy-msa/caddymsa/names"
)

// Query says which facts are wanted: those that meet all that is set.
type Query struct {
	ID        string
	User      string // folded as addresses are
	Address   string // of the sender or a recipient
	Sender    string
	Recipient string
	What      []Kind
	Since     time.Time // at or after
	Until     time.Time // before
	HopID     string    // the next hop's queue id
	Once      string    // of an Accepted
	Text      string    // a part of Text, Answer or Reply, in any case
	// Before is where an earlier answer ended: only older facts. Empty: from the latest on.
	Before Position
}

// Match tells whether a fact meets the query, Before excepted.
func (q *Query) Match(f *Fact) bool {
	switch {
	case q.ID != "" && f.ID != q.ID && f.Notification != q.ID,
		q.User != "" && Fold(f.User) != Fold(q.User),
		q.Sender != "" && Fold(f.Sender) != Fold(q.Sender),
		q.Recipient != "" && !f.hasRecipient(Fold(q.Recipient)),
		q.Address != "" && Fold(f.Sender) != Fold(q.Address) && !f.hasRecipient(Fold(q.Address)),
		len(q.What) > 0 && !slices.Contains(q.What, f.What),
		!q.Since.IsZero() && f.Time.Before(q.Since),
		!q.Until.IsZero() && !f.Time.Before(q.Until),
		q.Once != "" && f.once() != q.Once,
		q.HopID != "" && (f.Visit == nil || f.HopID != q.HopID),
		q.Text != "" && !f.says(strings.ToLower(q.Text)):
		return false
	}
	return true
}

// Keys are the names by which the fact is found, each once: its message, the notification about it, its Once, its user and
// all addresses, folded.
func (f *Fact) Keys() []string {
	keys := append(make([]string, 0, 5+len(f.Recipients)), f.ID, f.Notification, f.once(), Fold(f.User), Fold(f.Sender))
	for _, r := range f.Recipients {
		keys = append(keys, Fold(r))
	}
	slices.Sort(keys)
	keys = slices.Compact(keys)
	if keys[0] == "" {
		keys = keys[1:]
	}
	return keys
}

// Keys are what Fact.Keys has of each fact that the query asks for, the rarest first; none: any fact may meet it.
func (q *Query) Keys() (keys []string) {
	for _, key := range []string{q.ID, q.Once, Fold(q.Recipient), Fold(q.Address), Fold(q.Sender), Fold(q.User)} {
		if key != "" {
			keys = append(keys, key)
		}
	}
	return keys
}

func (f *Fact) once() string {
	if f.Submission == nil {
		return ""
	}
	return f.Once
}

func (f *Fact) hasRecipient(folded string) bool {
	return slices.ContainsFunc(f.Recipients, func(r string) bool { return Fold(r) == folded })
}

func (f *Fact) says(lower string) bool {
	return strings.Contains(strings.ToLower(f.Text), lower) || strings.Contains(strings.ToLower(f.Reply), lower) ||
		f.Visit != nil && strings.Contains(strings.ToLower(f.Answer), lower)
}

// Fold is the one form of an address or user name by which a journal compares and finds it.
func Fold(name string) string {
	if a, err := mailaddr.Parse(name, true); err == nil {
		return a.Key()
	}
	return names.Fold(name)
}
