package httpconsole

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
)

// messagesPage is what a search found.
type messagesPage struct {
	Q       string
	Problem string

	Queue     *adminapi.QueuePage // nil: not searched
	QueueFail string

	Past     []*past
	NoPast   bool // not searched
	Older    string
	PastFail string
	Servers  []string // that a message can be given to
}

// past is what a page of the journal says of one message, or of a refusal.
type past struct {
	ID, Sender, User string
	Refused          bool // or something else that is of no message
	Recipients       []string
	Count            int
	Time             time.Time // of the latest fact
	States           []string  // each once, the latest first
	Fact             *journal.Fact
	Size             int64
}

// maxSearch bounds a search, which is compared with everything.
const maxSearch = 500

func loadMessages(v *visit) (any, error) {
	q := strings.TrimSpace(v.Query.Get("q"))
	q = strings.ToValidUTF8(q[:min(len(q), maxSearch)], "")
	s := parseSearch(q)
	p := &messagesPage{Q: q, Problem: s.problem, NoPast: s.history.Get("state") == "none"}
	if s.problem != "" {
		return p, nil
	}
	var err error
	if p.Servers, err = servers(v); err != nil {
		return nil, err
	}
	if s.queue != nil {
		s.queue.Set("limit", "100")
		if after := v.Query.Get("after"); after != "" {
			s.queue.Set("after", after)
		}
		p.Queue = new(adminapi.QueuePage)
		if err := v.get("/msa/queue", s.queue, p.Queue); err != nil {
			p.QueueFail = said(err)
		}
	}
	if p.NoPast {
		return p, nil
	}
	s.history.Set("limit", "200")
	if before := v.Query.Get("before"); before != "" {
		s.history.Set("before", before)
	}
	facts := new(adminapi.HistoryPage)
	if err := v.get("/msa/history", s.history, facts); err != nil {
		p.PastFail = said(err)
		return p, nil
	}
	p.Past, p.Older = grouped(facts.Facts), facts.Next
	return p, nil
}

// servers are the names of those that run.
func servers(v *visit) ([]string, error) {
	answer := new(adminapi.Servers)
	if err := v.get("/msa/servers", nil, answer); err != nil {
		return nil, err
	}
	var names []string
	for _, s := range answer.Servers {
		names = append(names, s.Name)
	}
	return names, nil
}

// grouped puts facts together that are of one message, in the order of the latest.
func grouped(facts []adminapi.HistoryFact) (all []*past) {
	of := make(map[string]*past)
	for i := range facts {
		f := &facts[i].Fact
		m := of[f.ID]
		if m == nil || f.ID == "" {
			m = &past{ID: f.ID, Refused: f.ID == "", Time: f.Time, Sender: f.Sender, User: cmp.Or(f.User, f.By), Fact: f}
			of[f.ID] = m
			all = append(all, m)
		}
		m.add(f)
	}
	return all
}

func (m *past) add(f *journal.Fact) {
	if !slices.Contains(m.States, string(f.What)) && (f.What != journal.Accepted || len(m.States) == 0) {
		m.States = append(m.States, string(f.What))
	}
	if gist(m.Fact) == "" {
		m.Fact = f
	}
	if f.Submission != nil {
		m.Size = f.Size
	}
	for _, r := range f.Recipients {
		if len(m.Recipients) < journal.MaxRecipients && !slices.Contains(m.Recipients, r) {
			m.Recipients = append(m.Recipients, r)
		}
	}
	m.Count = max(m.Count, f.Count, len(m.Recipients), len(f.Recipients))
}

// More is how many recipients are not shown.
func (m *past) More() int { return m.Count - min(m.Count, shownRecipients, len(m.Recipients)) }

// Shown are the recipients that a row has room for.
func (m *past) Shown() []string { return m.Recipients[:min(len(m.Recipients), shownRecipients)] }

// shownRecipients is how many a row of a table has.
const shownRecipients = 3
