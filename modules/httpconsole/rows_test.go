package httpconsole

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
	"github.com/caddy-msa/caddy-msa/caddymsa/running"
)

const many = 10_000

// crowded has many messages and many lanes.
type crowded struct{}

func (crowded) ServeAdmin(w http.ResponseWriter, r *http.Request, _ running.Operator) error {
	answer := any(struct{}{})
	switch r.URL.Path {
	case "/msa/queue":
		after, _ := strconv.Atoi(r.URL.Query().Get("after"))
		limit, _ := strconv.Atoi(r.URL.Query().Get("limit"))
		page := &adminapi.QueuePage{}
		for i := after + 1; i <= min(after+limit, many); i++ {
			page.Entries = append(page.Entries, &adminapi.Entry{Entry: queue.Entry{ID: fmt.Sprintf("%05d", i), Accepted: time.Now()}, State: "queued"})
		}
		if after+limit < many {
			page.Next = fmt.Sprintf("%05d", after+limit)
		}
		answer = page
	case "/msa/lanes":
		lanes := &adminapi.Lanes{}
		for i := range many {
			lanes.Lanes = append(lanes.Lanes, adminapi.Lane{Lane: queue.Lane{Name: fmt.Sprintf("lane-%05d", i), State: "up"}})
		}
		answer = lanes
	}
	return json.NewEncoder(w).Encode(answer)
}

// Ten thousand rows are a hundred pages of a hundred, each row on one of them.
func TestManyRows(t *testing.T) {
	defer running.Push(crowded{}, nil)()
	rows := regexp.MustCompile(`>(lane-\d{5}|\d{5})</a>`)
	next := regexp.MustCompile(`<a href="([^"]*)" rel="next"`)
	var seen []string
	for path := "messages"; path != ""; {
		body := get("/console/" + path).Body.String()
		found := rows.FindAllStringSubmatch(body, -1)
		if len(found) > perPage {
			t.Fatalf("%s: %d rows", path, len(found))
		}
		for _, row := range found {
			seen = append(seen, row[1])
		}
		path = ""
		if m := next.FindStringSubmatch(body); m != nil {
			path = strings.ReplaceAll(m[1], "&amp;", "&")
		}
	}
	slices.Sort(seen)
	if n := len(slices.Compact(seen)); n != many {
		t.Errorf("%d messages of %d", n, many)
	}
	for page, first := range map[string]string{"1": "lane-00000", "50": "lane-04900", "100": "lane-09900"} { // lanes come all at once
		body := get("/console/lanes?page=" + page).Body.String()
		found := rows.FindAllStringSubmatch(body, -1)
		if len(found) != perPage || found[0][1] != first || !strings.Contains(body, "Page "+page+" of 100") || strings.Contains(body, `rel="next"`) != (page != "100") {
			t.Errorf("page %s: %d lanes, %v first", page, len(found), found[:1])
		}
	}
}

// All that a search finds is acted upon in requests of a thousand, and said to be so many before.
func TestManyAtOnce(t *testing.T) {
	defer running.Push(crowded{}, nil)()
	v := &visit{c: new(Console), r: newRequest(t), Page: pages["messages"]}
	v.r.PostForm = url.Values{"do": {"delete"}, "all": {"1"}}
	if err := actOnMessages(v); err != nil || v.Ask == nil || v.Ask.Count != many || v.Ask.Until != "10000" {
		t.Fatalf("%v %+v", err, v.Ask)
	}
	body, err := v.render("page")
	if err != nil || !strings.Contains(string(body), "Delete 10,000 messages?") {
		t.Errorf("%v %s", err, body)
	}
}

func newRequest(t *testing.T) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://localhost/messages", nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
