package admin

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
)

// historyQuery is what GET /msa/history is asked for.
type historyQuery struct {
	journal.Query
	server, spool string // "": any
	nobody        bool   // with the reverse path <> only
	limit         int
	places        places // where the page begins
	words         []string
}

// historyParameters read a value each.
var historyParameters = map[string]func(h *historyQuery, value string, now time.Time) error{
	"id":        func(h *historyQuery, value string, _ time.Time) error { h.ID = adminapi.QueueID(value); return nil },
	"user":      func(h *historyQuery, value string, _ time.Time) error { h.User = value; return nil },
	"sender":    func(h *historyQuery, value string, _ time.Time) error { h.setSender(value); return nil },
	"recipient": func(h *historyQuery, value string, _ time.Time) error { h.Recipient = bare(value); return nil },
	"address":   func(h *historyQuery, value string, _ time.Time) error { h.Address = bare(value); return nil },
	"hop_id":    func(h *historyQuery, value string, _ time.Time) error { h.HopID = value; return nil },
	"error":     func(h *historyQuery, value string, _ time.Time) error { h.Text = value; return nil },
	"server":    func(h *historyQuery, value string, _ time.Time) error { h.server = value; return nil },
	"word": func(h *historyQuery, value string, _ time.Time) error {
		h.words = append(h.words, strings.ToLower(value))
		return nil
	},
	"spool": func(h *historyQuery, value string, _ time.Time) error { h.spool = value; return nil },
	"state": func(h *historyQuery, value string, _ time.Time) error { return h.addKinds(value) },
	"since": func(h *historyQuery, value string, now time.Time) (err error) {
		h.Since, err = adminapi.ParseMoment(value, now)
		return err
	},
	"until": func(h *historyQuery, value string, now time.Time) (err error) {
		h.Until, err = adminapi.ParseMoment(value, now)
		return err
	},
	"limit": func(h *historyQuery, value string, _ time.Time) (err error) {
		if h.limit, err = strconv.Atoi(value); err != nil || h.limit < 1 || h.limit > maxPage {
			return fmt.Errorf("%q is not a number from 1 to %d", value, maxPage)
		}
		return nil
	},
	"before": func(h *historyQuery, value string, _ time.Time) (err error) {
		h.places, err = parsePlaces(value)
		return err
	},
}

// maxParameter bounds a value, which each fact may be compared with.
const maxParameter = 1000

// parseHistory reads the parameters. An empty one is an error: who meant to name a user would get what all have done.
func parseHistory(q url.Values, now time.Time) (*historyQuery, error) {
	h := &historyQuery{limit: defaultPage}
	for _, name := range slices.Sorted(maps.Keys(q)) {
		read, known := historyParameters[name]
		switch {
		case !known:
			return nil, fmt.Errorf("unknown parameter %q; there are %s", name, strings.Join(slices.Sorted(maps.Keys(historyParameters)), ", "))
		case len(q[name]) > 1 && name != "state" && name != "word":
			return nil, fmt.Errorf("%s: it is specified twice", name)
		}
		for _, value := range q[name] {
			switch value = strings.TrimSpace(value); {
			case value == "":
				return nil, fmt.Errorf("%s: it is empty; leave it out where any will do", name)
			case len(value) > maxParameter:
				return nil, fmt.Errorf("%s: it is longer than %d octets", name, maxParameter)
			}
			if err := read(h, value, now); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	if !h.Since.IsZero() && !h.Until.IsZero() && !h.Since.Before(h.Until) {
		return nil, fmt.Errorf("until: %s is not after since, %s", h.Until.Format(time.RFC3339), h.Since.Format(time.RFC3339))
	}
	return h, nil
}

// bare is an address without the brackets that it has in dialogues and logs.
func bare(address string) string {
	if inside, ok := strings.CutPrefix(address, "<"); ok && strings.HasSuffix(inside, ">") {
		return strings.TrimSuffix(inside, ">")
	}
	return address
}

func (h *historyQuery) setSender(value string) {
	h.Sender = bare(value)
	h.nobody = h.Sender == ""
}

func (h *historyQuery) addKinds(value string) error {
	for _, word := range strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ' ' }) {
		kind := journal.Kind(strings.ToLower(word))
		if !slices.Contains(journal.Kinds, kind) {
			return fmt.Errorf("%q is not a state; there are %s", word, kindNames())
		}
		h.What = append(h.What, kind)
	}
	if len(h.What) == 0 {
		return fmt.Errorf("it names none; there are %s", kindNames())
	}
	return nil
}

func kindNames() string {
	names := make([]string, len(journal.Kinds))
	for i, k := range journal.Kinds {
		names[i] = string(k)
	}
	return strings.Join(names, ", ")
}

// match is what a journal does not look at itself.
func (h *historyQuery) match(f *journal.Fact) bool {
	return (h.server == "" || strings.EqualFold(f.Server, h.server)) && (!h.nobody || f.Sender == "" && f.ID != "") &&
		!slices.ContainsFunc(h.words, func(word string) bool { return !factSays(f, word) })
}

// factSays tells whether a word is anywhere in a fact.
func factSays(f *journal.Fact, word string) bool {
	has := func(text string) bool { return strings.Contains(strings.ToLower(text), word) }
	if has(f.ID) || has(f.User) || has(f.Sender) || has(f.Text) || has(f.Reply) || has(f.Policy) || has(f.By) || has(f.Notification) || slices.ContainsFunc(f.Recipients, has) {
		return true
	}
	if s := f.Submission; s != nil && (has(s.RemoteIP) || has(s.Helo) || has(s.EnvelopeID) || has(s.Session)) {
		return true
	}
	v := f.Visit
	return v != nil && (has(v.Lane) || has(v.Host) || has(v.Address) || has(v.Answer) || has(v.HopID))
}

// scanTime is for how long a journal is looked through for words, which no index finds; the next page goes on.
const scanTime = 500 * time.Millisecond
