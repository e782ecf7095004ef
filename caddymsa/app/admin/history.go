package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// serveHistory answers GET /msa/history: a page of what became of messages, the latest first, out of the journals of all
// spools that are open.
func serveHistory(w http.ResponseWriter, r *http.Request) error {
	return answerJSON(w, r, func(ctx context.Context, p *Part) (*adminapi.HistoryPage, error) {
		values, err := url.ParseQuery(r.URL.RawQuery) // a word that cannot be read must not be passed over
		if err != nil {
			return nil, caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: fmt.Errorf("the query cannot be read: %w", err)}
		}
		h, err := parseHistory(values, time.Now())
		if err != nil {
			return nil, caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: err}
		}
		return p.history(ctx, h)
	})
}

var errNoJournal = caddy.APIError{HTTPStatus: http.StatusNotImplemented, Err: errors.New("this spool keeps no journal, so there is no history of messages")}

func (p *Part) history(ctx context.Context, h *historyQuery) (*adminapi.HistoryPage, error) {
	var all []*excerpt
	keys, readers := []string{}, 0
	for i, s := range p.all() {
		keys = append(keys, s.Key)
		reader, ok := s.Spool.(journal.Reader)
		if h.spool != "" && s.Key != h.spool || !ok {
			continue
		}
		readers++
		e := &excerpt{name: placeName(s.Key)}
		if i > 0 {
			e.spool = s.Key
		}
		switch err := e.read(ctx, reader, h); {
		case i > 0 && errors.Is(err, queue.ErrClosed): // it is empty since
		case err != nil:
			return nil, fmt.Errorf("journal of %s: %w", s.Key, err)
		default:
			all = append(all, e)
		}
	}
	if readers == 0 {
		if h.spool != "" {
			return nil, caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: fmt.Errorf("spool: there is no journal of %q; there are %s", h.spool, strings.Join(keys, ", "))}
		}
		return nil, errNoJournal
	}
	return mergedHistory(all, h), nil
}

// excerpt is what a journal has for a page.
type excerpt struct {
	name, spool string
	facts       []*journal.Fact  // the latest first
	cut         bool             // there are more
	looked      journal.Position // where a look for words ended for want of time
}

// read reads what a page can take.
func (e *excerpt) read(ctx context.Context, reader journal.Reader, h *historyQuery) error {
	q := h.Query
	q.Before = h.places[e.name]
	began := time.Now()
	return reader.Facts(ctx, &q, func(f *journal.Fact) bool {
		if !h.match(f) {
			if len(h.words) > 0 && time.Since(began) > scanTime {
				e.looked, e.cut = f.Position, true
				return false
			}
			return true
		}
		if len(e.facts) == h.limit {
			e.cut = true
			return false
		}
		e.facts = append(e.facts, f)
		return true
	})
}

// mergedHistory is the page of all journals together, by time; each journal's own order stays as it is. What was carried
// into one of them out of another is told once.
func mergedHistory(all []*excerpt, h *historyQuery) *adminapi.HistoryPage {
	page := &adminapi.HistoryPage{Facts: []adminapi.HistoryFact{}}
	told, seen := maps.Clone(h.places), make(map[string]bool)
	if told == nil {
		told = make(places)
	}
	for len(page.Facts) < h.limit {
		var next *excerpt
		for _, e := range all {
			if len(e.facts) == 0 && e.cut { // what it has more may come next
				if e.looked != "" {
					told[e.name] = e.looked
				}
				page.Next = told.without(seen, all).String()
				return page
			}
			if len(e.facts) > 0 && (next == nil || e.facts[0].Time.After(next.facts[0].Time)) {
				next = e
			}
		}
		if next == nil {
			return page
		}
		f := next.facts[0]
		next.facts, told[next.name] = next.facts[1:], f.Position
		if len(all) > 1 && twice(seen, f) {
			continue
		}
		page.Facts = append(page.Facts, adminapi.HistoryFact{Fact: *f, Spool: next.spool})
	}
	told.without(seen, all)
	for _, e := range all {
		if len(e.facts) > 0 || e.cut {
			page.Next = told.String()
		}
	}
	return page
}

// without has the next page begin behind what another journal has told: it is of the same time, and so it comes next.
func (p places) without(seen map[string]bool, all []*excerpt) places {
	for _, e := range all {
		for len(all) > 1 && len(e.facts) > 0 && twice(seen, e.facts[0]) {
			p[e.name] = e.facts[0].Position
			e.facts = e.facts[1:]
		}
	}
	return p
}

// twice tells whether the fact was seen before, whichever journal it is in.
func twice(seen map[string]bool, f *journal.Fact) bool {
	c := *f
	c.Carried, c.Time = false, f.Time.UTC()
	text, err := json.Marshal(&c)
	if err != nil || seen[string(text)] {
		return err == nil
	}
	seen[string(text)] = true
	return false
}
