package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// What a page costs at most, however few entries a filter lets through.
const (
	defaultPage = 100
	maxPage     = 1000
	// maxScan is for how long a page looks for messages, once it has looked at as many as it could
	// list; who wants more asks for the next page.
	maxScan = 3 * time.Millisecond
)

// queueList answers GET /msa/queue, a page of what matches the filter in the order of ids,
// which is that of acceptance: ?after=<id>&limit=<n> and the filter's words.
func queueList(ctx context.Context, p *Part, q url.Values) (*adminapi.QueuePage, error) {
	f, err := parseFilter(q)
	if err != nil {
		return nil, caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: err}
	}
	limit := defaultPage
	if s := q.Get("limit"); s != "" {
		if limit, err = strconv.Atoi(s); err != nil || limit < 1 || limit > maxPage {
			return nil, caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: fmt.Errorf("limit: %q is not a number from 1 to %d", s, maxPage)}
		}
	}
	page, err := p.Store.page(ctx, f, q.Get("after"), limit)
	for _, s := range p.Former {
		var more *adminapi.QueuePage
		if err != nil {
			break
		}
		if more, err = s.page(ctx, f, q.Get("after"), limit); err == nil {
			page = merged(page, more, limit)
		}
	}
	return page, err
}

// page is one store's.
func (s Store) page(ctx context.Context, f *filter, after string, limit int) (*adminapi.QueuePage, error) {
	page, last, looked := &adminapi.QueuePage{Entries: []*adminapi.Entry{}}, "", 0
	until := time.Now().Add(maxScan)
	err := s.Spool.List(ctx, after, func(m *queue.EntryView) bool {
		if len(page.Entries) == limit || looked >= limit && time.Now().After(until) {
			page.Next = last
			return false
		}
		looked++
		last = m.Entry.ID
		if f.match(m) {
			page.Entries = append(page.Entries, adminapi.Describe(m, s.Queue.Why))
		}
		return true
	})
	return page, err
}

// merged is the page of two stores together. It goes no further than the one of them that was not looked through.
func merged(a, b *adminapi.QueuePage, limit int) *adminapi.QueuePage {
	page := &adminapi.QueuePage{Entries: append(a.Entries, b.Entries...), Next: a.Next}
	if b.Next != "" && (page.Next == "" || b.Next < page.Next) {
		page.Next = b.Next
	}
	slices.SortFunc(page.Entries, func(x, y *adminapi.Entry) int { return strings.Compare(x.ID, y.ID) })
	if page.Next != "" {
		page.Entries = slices.DeleteFunc(page.Entries, func(e *adminapi.Entry) bool { return e.ID > page.Next })
	}
	if len(page.Entries) > limit {
		page.Entries = page.Entries[:limit]
		page.Next = page.Entries[limit-1].ID
	}
	return page
}

// queueShow answers GET /msa/queue/<id>.
func queueShow(ctx context.Context, p *Part, id string) (*adminapi.Entry, error) {
	s := p.having(ctx, id)
	m, err := s.Spool.Get(ctx, id)
	if err != nil {
		return nil, apiError(id, err)
	}
	return adminapi.Describe(m, s.Queue.Why), nil
}

// apiError gives what a spool says of an entry its HTTP status.
func apiError(id string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, queue.ErrNotFound):
		return caddy.APIError{HTTPStatus: http.StatusNotFound, Err: fmt.Errorf("there is no message %s in the queue: it was delivered or deleted, or never accepted", id)}
	}
	return fmt.Errorf("message %s: %w", id, err)
}

// serveQueue answers what reads the queue.
func serveQueue(w http.ResponseWriter, r *http.Request) error {
	path := strings.TrimPrefix(r.URL.Path, "/msa/queue")
	id, rest, _ := strings.Cut(strings.Trim(path, "/"), "/")
	switch {
	case path == "":
		return answerJSON(w, r, func(ctx context.Context, p *Part) (*adminapi.QueuePage, error) {
			values, err := url.ParseQuery(r.URL.RawQuery) // a word that cannot be read must not be passed over
			if err != nil {
				return nil, caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: fmt.Errorf("the query cannot be read: %w", err)}
			}
			return queueList(ctx, p, values)
		})
	case strings.TrimSpace(id) == "": // the list would be taken for a message
		return caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: errors.New("an id is required: /msa/queue/<id>")}
	case rest == "":
		return answerJSON(w, r, func(ctx context.Context, p *Part) (*adminapi.Entry, error) { return queueShow(ctx, p, id) })
	}
	return caddy.APIError{HTTPStatus: http.StatusNotFound, Err: errors.New("there are /msa/queue and /msa/queue/<id>")}
}

func answerJSON[A any](w http.ResponseWriter, r *http.Request, ask func(context.Context, *Part) (A, error)) error {
	answer, err := withApp(r.Context(), ask)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(answer)
}
