package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue/queuetest"
)

var noon = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)

// asked are the ids, or what else names them, of the facts that a query finds.
func asked(t *testing.T, p *Part, query string) []string {
	t.Helper()
	page := pageOf(t, p, query)
	ids := []string{}
	for _, f := range page.Facts {
		ids = append(ids, f.ID)
	}
	return ids
}

func pageOf(t *testing.T, p *Part, query string) *adminapi.HistoryPage {
	t.Helper()
	values, err := url.ParseQuery(query)
	if err != nil {
		t.Fatal(err)
	}
	h, err := parseHistory(values, noon)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	page, err := p.history(context.Background(), h)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return page
}

func TestHistoryParameters(t *testing.T) {
	spool := queuetest.NewMemSpool()
	p := &Part{Store: Store{Key: "memory:now", Spool: spool}}
	spool.Note(
		journal.Fact{Time: noon.Add(-72 * time.Hour), What: journal.Accepted, ID: "Q1", Server: "main", User: "Alice@example.org", Sender: "alice@example.org", Recipients: []string{"bob@example.net", "carol@example.net"}},
		journal.Fact{Time: noon.Add(-71 * time.Hour), What: journal.Deferred, ID: "Q1", Server: "main", User: "Alice@example.org", Sender: "alice@example.org", Recipients: []string{"bob@example.net"}, Text: "451 mailbox busy"},
		journal.Fact{Time: noon.Add(-70 * time.Hour), What: journal.Delivered, ID: "Q1", Server: "main", User: "Alice@example.org", Sender: "alice@example.org", Recipients: []string{"carol@example.net"}, Visit: &journal.Visit{HopID: "4XyZ", Answer: "250 queued"}},
		journal.Fact{Time: noon.Add(-2 * time.Hour), What: journal.Bounced, ID: "Q1", Server: "main", User: "Alice@example.org", Sender: "alice@example.org", Recipients: []string{"bob@example.net"}, Notification: "Q2"},
		journal.Fact{Time: noon.Add(-2 * time.Hour), What: journal.Accepted, ID: "Q2", Server: "main", Recipients: []string{"alice@example.org"}},
		journal.Fact{Time: noon.Add(-time.Hour), What: journal.Refused, Server: "other", User: "dave", Sender: "dave@example.org", Moment: "RCPT", Reply: "550 5.7.1 no"},
	)
	for query, want := range map[string]string{
		"":                                " Q2 Q1 Q1 Q1 Q1",
		"id=Q1":                           "Q1 Q1 Q1 Q1",
		"id=Q2":                           "Q2 Q1",
		"user=ALICE@example.org":          "Q1 Q1 Q1 Q1",
		"user=dave":                       "",
		"sender=alice@example.org":        "Q1 Q1 Q1 Q1",
		"sender=<alice@EXAMPLE.org>":      "Q1 Q1 Q1 Q1",
		"sender=<>":                       "Q2",
		"recipient=carol@example.net":     "Q1 Q1",
		"address=%3Cbob@example.net%3E":   "Q1 Q1 Q1",
		"address=alice@example.org":       "Q2 Q1 Q1 Q1 Q1",
		"state=deferred":                  "Q1",
		"state=Deferred,bounced":          "Q1 Q1",
		"state=deferred&state=delivered":  "Q1 Q1",
		"since=1d":                        " Q2 Q1",
		"since=2026-11-29T10:30:00Z":      "",
		"since=2026-11-29T11:30:00+01:00": "", // with the blank that + is in a URL
		"until=2d":                        "Q1 Q1 Q1",
		"since=2026-11-26&until=2026-11-27T00:00:00Z":                         "Q1 Q1 Q1",
		"since=0001-01-01T00:00:00Z&until=9999-01-01T00:00:00Z&state=refused": "",
		"hop_id=4XyZ":                      "Q1",
		"error=Mailbox+BUSY":               "Q1",
		"error=5.7.1":                      "",
		"server=other":                     "",
		"server=main&limit=1":              "Q2",
		"spool=memory:now&state=delivered": "Q1",
		"id=none":                          "-",
	} {
		got := strings.Join(asked(t, p, query), " ")
		if want == "-" {
			want = ""
			if n := len(asked(t, p, query)); n != 0 {
				t.Errorf("%s: %d facts", query, n)
			}
		} else if len(asked(t, p, query)) == 0 {
			t.Errorf("%s: nothing", query)
		}
		if got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
}

// An id that somebody wrote down means the message, in any case.
func TestHistoryID(t *testing.T) {
	for written, want := range map[string]string{"m8kgphc0xvxd96se": "M8KGPHC0XVXD96SE", "M8KGPHC0XVXD96SE": "M8KGPHC0XVXD96SE", "other": "other"} {
		if h, err := parseHistory(url.Values{"id": {written}}, noon); err != nil || h.ID != want {
			t.Errorf("%s: %+v, %v", written, h, err)
		}
	}
}

// What makes no sense is said with the parameter's name.
func TestHistoryWrong(t *testing.T) {
	for query, want := range map[string]string{
		"colour=red":          `unknown parameter "colour"; there are address, before, error, hop_id`,
		"user=":               "user: it is empty",
		"recipient=+":         "recipient: it is empty",
		"id=Q1&id=Q2":         "id: it is specified twice",
		"state=lost":          `state: "lost" is not a state; there are accepted, deferred, delivered`,
		"state=,":             "state: it names none",
		"since=soon":          `since: "soon" is neither a time (2026-11-29T08:00:00Z or 2026-11-29) nor how long ago it was`,
		"since=-2d":           `since: "-2d" is neither`,
		"until=2026-13-01":    `until: "2026-13-01" is neither`,
		"since=1d&until=2d":   "until: 2026-11-27T12:00:00Z is not after since, 2026-11-28T12:00:00Z",
		"limit=0":             `limit: "0" is not a number from 1 to 1000`,
		"limit=1001":          `limit: "1001" is not`,
		"limit=x":             `limit: "x" is not`,
		"before=x":            "before: it is not what an answer had as next",
		"before=eyJhIjoiYiJ9": "before: it is not what an answer had as next",
		"error=" + strings.Repeat("x", maxParameter+1): "error: it is longer than 1000 octets",
	} {
		values, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseHistory(values, noon); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v, want %q", query, err, want)
		}
	}
	p := &Part{Store: Store{Key: "memory:now", Spool: queuetest.NewMemSpool()}}
	_, err := p.history(context.Background(), &historyQuery{limit: 1, spool: "file:/x"})
	if api, ok := errors.AsType[caddy.APIError](err); !ok || api.HTTPStatus != http.StatusBadRequest || !strings.Contains(err.Error(), `spool: there is no journal of "file:/x"; there are memory:now`) {
		t.Errorf("%v", err)
	}
	p = &Part{Store: Store{Key: "none", Spool: withoutJournal{queuetest.NewMemSpool()}}}
	if _, err := p.history(context.Background(), &historyQuery{limit: 1}); !isNoJournal(err) {
		t.Errorf("%v", err)
	}
	if _, err := purgeJournals(context.Background(), p, &adminapi.JournalPurge{Address: "x"}); !isNoJournal(err) {
		t.Errorf("%v", err)
	}
}

func isNoJournal(err error) bool {
	api, ok := errors.AsType[caddy.APIError](err)
	return ok && api.HTTPStatus == http.StatusNotImplemented && strings.HasPrefix(err.Error(), "this spool keeps no journal")
}

// withoutJournal is a spool of somebody else's.
type withoutJournal struct{ queue.OpenSpool }

// Pages over three spools' journals have no gaps and nothing twice, while each of the journals grows, and are in the order of time.
func TestHistoryPages(t *testing.T) {
	const facts = 60
	var spools []*queuetest.MemSpool
	p := &Part{}
	for i, key := range []string{"now", "former", "older"} {
		spool := queuetest.NewMemSpool()
		spools = append(spools, spool)
		if s := (Store{Key: key, Spool: spool}); i == 0 {
			p.Store = s
		} else {
			p.Former = append(p.Former, s)
		}
	}
	for n := range facts { // the older ones in the older spools, with some overlap
		spools[min(2, (facts-n)/20)].Note(journal.Fact{Time: noon.Add(time.Duration(n) * time.Second), What: journal.Accepted, ID: fmt.Sprintf("Q%03d", n)})
		spools[n%3].Note(journal.Fact{Time: noon.Add(time.Duration(n) * time.Second), What: journal.Delivered, ID: fmt.Sprintf("Q%03d", n)})
	}
	for _, limit := range []int{1, 7, 2*facts - 1, 2 * facts, 1000} {
		seen, pages := make(map[string]int), 0
		before, last := "", noon.Add(time.Hour)
		for {
			query := fmt.Sprintf("limit=%d", limit)
			if before != "" {
				query += "&before=" + before
			}
			page := pageOf(t, p, query)
			for _, f := range page.Facts {
				if strings.HasPrefix(f.ID, "new") {
					continue
				}
				seen[string(f.What)+f.ID]++
				if f.Time.After(last) {
					t.Errorf("limit %d: %s %s is out of order", limit, f.What, f.ID)
				}
				last = f.Time
			}
			if len(page.Facts) > limit {
				t.Errorf("limit %d: a page of %d", limit, len(page.Facts))
			}
			if before = page.Next; before == "" {
				break
			}
			if pages++; pages > 5*facts {
				t.Fatalf("limit %d: there is no end", limit)
			}
			spools[pages%3].Note(journal.Fact{Time: noon.Add(2 * time.Hour), What: journal.Accepted, ID: "new"})
		}
		for n := range facts {
			for _, what := range []journal.Kind{journal.Accepted, journal.Delivered} {
				if got := seen[fmt.Sprintf("%sQ%03d", what, n)]; got != 1 {
					t.Errorf("limit %d: %s Q%03d came %d times", limit, what, n, got)
				}
			}
		}
	}
	// A spool of which the token tells is closed since.
	page := pageOf(t, p, "limit=70")
	p.Former = p.Former[:1]
	if rest := pageOf(t, p, "before="+page.Next); len(rest.Facts) == 0 {
		t.Error("nothing of the others")
	}
	if got := pageOf(t, p, "spool=former").Facts[0].Spool; got != "former" {
		t.Errorf("spool %q", got)
	}
}

// What a message took along into another spool is told once.
func TestHistoryCarried(t *testing.T) {
	now, former := queuetest.NewMemSpool(), queuetest.NewMemSpool()
	p := &Part{Store: Store{Key: "now", Spool: now}, Former: []Store{{Key: "former", Spool: former}}}
	accepted := journal.Fact{Time: noon, What: journal.Accepted, ID: "Q1", Recipients: []string{"bob@example.net"}, Submission: &journal.Submission{Size: 7}}
	former.Note(accepted, journal.Fact{Time: noon.Add(2), What: journal.Moved, ID: "Q1", Text: "now"})
	accepted.Carried = true
	now.Note(accepted, journal.Fact{Time: noon.Add(3), What: journal.Delivered, ID: "Q1"})
	var got []string
	for _, f := range pageOf(t, p, "id=Q1").Facts {
		got = append(got, string(f.What))
	}
	if !slices.Equal(got, []string{"delivered", "moved", "accepted"}) {
		t.Errorf("%q", got)
	}
	for limit := 1; limit < 5; limit++ { // wherever a page ends
		var paged []string
		for query, more := fmt.Sprintf("id=Q1&limit=%d", limit), true; more; {
			page := pageOf(t, p, query)
			for _, f := range page.Facts {
				paged = append(paged, string(f.What))
			}
			more = page.Next != ""
			query = fmt.Sprintf("id=Q1&limit=%d&before=%s", limit, page.Next)
		}
		if !slices.Equal(paged, got) {
			t.Errorf("%d a page: %q", limit, paged)
		}
	}
}

// A request that has ended ends the search.
func TestHistoryEnds(t *testing.T) {
	spool := queuetest.NewMemSpool()
	for range 3 {
		spool.Note(journal.Fact{Time: noon, What: journal.Accepted, ID: "Q1"})
	}
	p := &Part{Store: Store{Spool: spool}}
	ctx, end := context.WithCancel(context.Background())
	end()
	if _, err := p.history(ctx, &historyQuery{limit: 10}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// An address goes out of all journals, and the log says who had it done, without the address.
func TestJournalPurge(t *testing.T) {
	now, former := queuetest.NewMemSpool(), queuetest.NewMemSpool()
	log, logged := observed()
	p := &Part{Log: log, Store: Store{Key: "now", Spool: now}, Former: []Store{{Key: "former", Spool: former}}}
	for _, s := range []*queuetest.MemSpool{now, former} {
		s.Note(journal.Fact{Time: noon, What: journal.Failed, ID: "Q1", Sender: "bob@example.net", Text: "550 <bob@example.net> is unknown"}, journal.Fact{Time: noon, What: journal.Accepted, ID: "Q2"})
	}
	ctx := WithOperator(context.Background(), "root")
	if answer, err := purgeJournals(ctx, p, &adminapi.JournalPurge{Address: " <BOB@example.net> "}); err != nil || answer.Facts != 2 {
		t.Errorf("%+v, %v", answer, err)
	}
	if ids := asked(t, p, "address=bob@example.net"); len(ids) != 0 {
		t.Errorf("%q", ids)
	}
	if ids := asked(t, p, "id=Q1"); len(ids) != 1 { // what both journals have is the same
		t.Errorf("%q", ids)
	}
	if text := logged(); strings.Count(text, `"by": "root"`)+strings.Count(text, `"by":"root"`) != 2 || strings.Contains(strings.ToLower(text), "bob") {
		t.Errorf("log:\n%s", text)
	}
	for _, address := range []string{"", "  ", "<>"} {
		if _, err := purgeJournals(ctx, p, &adminapi.JournalPurge{Address: address}); err == nil || !strings.HasPrefix(err.Error(), "address: ") {
			t.Errorf("%q: %v", address, err)
		}
	}
}

func FuzzParseHistory(f *testing.F) {
	f.Add("id=Q1&state=accepted,failed&since=2d&until=2026-11-29&limit=7", "x")
	f.Add("sender=%3C%3E&since=1h&error=%00", places{"a": "1"}.String())
	f.Fuzz(func(t *testing.T, query, token string) {
		if values, err := url.ParseQuery(query); err == nil {
			if h, err := parseHistory(values, noon); err == nil && (h.limit < 1 || h.limit > maxPage) {
				t.Errorf("limit %d", h.limit)
			}
		}
		if p, err := parsePlaces(token); err == nil {
			if again, err := parsePlaces(p.String()); err != nil || len(again) != len(p) {
				t.Errorf("%v became %v, %v", p, again, err)
			}
		}
	})
}

// observed is a log, and what was written to it.
func observed() (*zap.Logger, func() string) {
	var b strings.Builder
	return zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.AddSync(&b), zap.InfoLevel)), b.String
}
