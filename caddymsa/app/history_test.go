package app

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
)

// Where a message is, from the admin API: of the spool of now and of a former one, held and released by whom, and what
// the journals keep.
func TestAdminHistory(t *testing.T) {
	in := newInstance(t)
	in.load()
	history := func(query string) (kinds []string, page adminapi.HistoryPage) {
		t.Helper()
		status, body := in.admin(http.MethodGet, "/msa/history?"+query, "")
		if status != http.StatusOK {
			t.Fatalf("%s: %d %s", query, status, body)
		}
		page = jsonOf[adminapi.HistoryPage](t, body)
		for _, f := range page.Facts {
			kinds = append(kinds, string(f.What))
		}
		return kinds, page
	}
	c := in.session()
	first := c.submit("bob@example.net")
	in.kinds(first, "accepted delivered")
	if kinds, page := history("id=" + first); strings.Join(kinds, " ") != "delivered accepted" || page.Next != "" || page.Facts[1].Mechanism != "PLAIN" || page.Facts[0].Route == "" || page.Facts[0].Spool != "" {
		t.Errorf("%q %+v", kinds, page)
	}
	if kinds, _ := history("user=" + url.QueryEscape("ALICE@example.org") + "&state=accepted&since=1h&server=main"); len(kinds) != 1 {
		t.Errorf("%q", kinds)
	}
	for query, want := range map[string]string{"state=lost": "state: ", "user=": "user: it is empty", "user=%zz": "cannot be read", "since=soon": "since: "} {
		if status, body := in.admin(http.MethodGet, "/msa/history?"+query, ""); status != http.StatusBadRequest || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s", query, status, body)
		}
	}
	for _, path := range []string{"/msa/history", "/msa/journal/stat"} {
		if status, _ := in.admin(http.MethodPost, path, "{}"); status != http.StatusMethodNotAllowed {
			t.Errorf("POST %s: %d", path, status)
		}
	}
	if status, _ := in.admin(http.MethodGet, "/msa/journal-actions/purge", ""); status != http.StatusMethodNotAllowed {
		t.Errorf("GET purge: %d", status)
	}

	in.load(onDisk(in, "b"), withAppField("journal", map[string]any{"keep": "2d", "max_size": 2 << 20}))
	second := in.session().submit("bob@example.net")
	in.await("the second message", func() bool { kinds, _ := history("id=" + second); return len(kinds) == 2 })
	status, body := in.admin(http.MethodGet, "/msa/journal/stat", "")
	stat := jsonOf[adminapi.Journals](t, body)
	if status != http.StatusOK || stat.Off || stat.Keep != 48*time.Hour || stat.MaxSize != 2<<20 || len(stat.Journals) == 0 || stat.Journals[0].Facts != 2 || stat.Journals[0].Spool != "memory:"+in.mail.id+"b" {
		t.Errorf("%d %s", status, body)
	}
	status, body = in.adminWith(http.Header{adminapi.OperatorHeader: {"carol"}}, http.MethodPost, "/msa/journal-actions/purge", `{"address":"bob@example.net"}`)
	if status != http.StatusOK || jsonOf[adminapi.JournalPurged](t, body).Facts < 2 {
		t.Errorf("%d %s", status, body)
	}
	if line := in.logged("journal purged of an address", "carol (as the client says)"); strings.Contains(line, "bob@") {
		t.Error(line)
	}
	if kinds, page := history("id=" + second); len(kinds) != 2 || page.Facts[0].Recipients[0] != journal.Forgotten {
		t.Errorf("%+v", page)
	}
	if status, body := in.admin(http.MethodPost, "/msa/journal-actions/purge", `{}`); status != http.StatusBadRequest || !strings.Contains(body, "address: ") {
		t.Errorf("%d %s", status, body)
	}
}
