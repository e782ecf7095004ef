package cmdqueue

import (
	"bytes"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
)

var noon = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)

// told are the facts of a journal, the oldest first: M1 waits still; M5 was held, released, delivered to one and failed for
// another, of which M6 told the sender; a user was refused. Strangers have said what they liked.
func told() (all []journal.Fact) {
	of := func(minutes int, what journal.Kind, id string, to ...string) *journal.Fact {
		all = append(all, journal.Fact{Time: noon.Add(time.Duration(minutes) * time.Minute), What: what, ID: id, Server: "msa.example.org", User: "alice@example.org", Sender: "alice@example.org", Recipients: to, Count: len(to)})
		return &all[len(all)-1]
	}
	f := of(-300, journal.Accepted, "M5", "bob@example.net", "carol@example.net", "evil"+evil+"@example.net", "dave@example.net")
	f.Submission = &journal.Submission{Size: 1843, Body: "8BITMIME", RemoteIP: "192.0.2.7", Helo: "laptop" + evil, ClientTLS: "TLS1.3 TLS_AES_128_GCM_SHA256", Mechanism: "SCRAM-SHA-256", Session: "5e55", Policies: []string{"sender_identity", "milter: held"}}
	f = of(-300, journal.Held, "M5")
	f.Text, f.Policy = "looks odd", "milter"
	f = of(-200, journal.Released, "M5")
	f.By, f.Text = "carol as root (as the client says)", "it is fine"
	visit := journal.Visit{Route: "relay", Lane: "relay/mx.example.net:25", Attempt: 1, Host: "mx.example.net", Address: "192.0.2.25:25", TLS: "TLS1.3 TLS_AES_128_GCM_SHA256", Duration: 1234 * time.Millisecond}
	f = of(-199, journal.Deferred, "M5", "bob@example.net", "carol@example.net")
	deferred := visit
	deferred.Code, deferred.Next = 451, noon.Add(-190*time.Minute)
	f.Count, f.Text, f.Visit = 4, "451 4.3.0 come back"+evil, &deferred
	f = of(-189, journal.Delivered, "M5", "bob@example.net", "evil"+evil+"@example.net", "dave@example.net")
	delivered := visit
	delivered.Attempt, delivered.Answer, delivered.HopID, delivered.Duration = 2, "250 2.0.0 Ok: queued as 4XyZ"+evil, "4XyZ", 56*time.Millisecond
	f.Visit = &delivered
	f = of(-189, journal.Failed, "M5", "carol@example.net")
	failed := visit
	failed.Attempt, failed.Code, failed.TLS = 2, 550, ""
	f.Visit, f.Text = &failed, "550 5.1.1 no such user"
	f = of(-189, journal.Bounced, "M5", "carol@example.net")
	f.Notification = "M6"
	f = of(-189, journal.Accepted, "M6", "alice@example.org")
	f.User, f.Sender, f.Submission = "", "", &journal.Submission{Size: 3000, Bounce: true}
	f = of(-188, journal.Delivered, "M6", "alice@example.org")
	f.User, f.Sender, f.Visit = "", "", &journal.Visit{Route: "maildir", Lane: "maildir", Attempt: 1, Duration: time.Millisecond}
	f = of(-188, journal.Delivered, "M5", "bob@example.net")
	f.Visit = &journal.Visit{Copy: "archive", Route: "archive", Lane: "archive", Attempt: 1}
	f = of(-90, journal.Accepted, "M1", "bob@example.net", "carol@example.net")
	f.Submission = &journal.Submission{Size: 1843, RemoteIP: "192.0.2.7"}
	f = of(-1, journal.Refused, "", "x@example.com")
	f.Moment, f.Reply, f.Policy, f.Text = "RCPT", "550 5.7.1 You may not send to "+evil, "recipients", "not allowed"
	f = of(0, "teleported", "M8"+evil)
	f.Text = "a newer version" + evil
	return all
}

// historyOf answers as the admin API does, two at most of a page in which the limit is 1000.
func historyOf(q url.Values) adminapi.HistoryPage {
	page := adminapi.HistoryPage{Facts: []adminapi.HistoryFact{}}
	limit, _ := strconv.Atoi(q.Get("limit"))
	if limit == factsAtOnce {
		limit = 4
	}
	from, _ := strconv.Atoi(strings.TrimPrefix(q.Get("before"), "p"))
	all := told()
	slices.Reverse(all)
	match := &journal.Query{ID: q.Get("id"), User: q.Get("user")}
	n := 0
	for i := range all {
		if !match.Match(&all[i]) {
			continue
		}
		if n++; n <= from*4 {
			continue
		}
		if len(page.Facts) == limit {
			page.Next = "p" + strconv.Itoa(from+1)
			break
		}
		page.Facts = append(page.Facts, adminapi.HistoryFact{Fact: all[i]})
	}
	return page
}

// A narrow terminal has two lines of a fact, none longer than it is wide; a wide one has columns.
func TestFactTable(t *testing.T) {
	page := historyOf(url.Values{"limit": {"100"}})
	for _, width := range []int{60, 80, 120, 139, 140, 200} {
		var b bytes.Buffer
		table := newFactTable(&b)
		table.width = width
		for i := range page.Facts { // page by page
			if err := table.page(&adminapi.HistoryPage{Facts: page.Facts[i : i+1]}); err != nil {
				t.Fatal(err)
			}
		}
		if strings.ContainsAny(b.String(), "\x1b\x07\u009b") {
			t.Errorf("%d: %q", width, b.String())
		}
		for line := range strings.Lines(b.String()) {
			if n := len([]rune(line)) - 1; n > max(width, 65) && width < narrow {
				t.Errorf("%d: %d columns: %s", width, n, line)
			}
		}
		if width == 80 {
			golden(t, "history_80", b.String())
		}
	}
}

// What became of recipients is what their last fact says, whatever became of copies.
func TestStates(t *testing.T) {
	fact := func(what journal.Kind, to ...string) *journal.Fact { return &journal.Fact{What: what, Recipients: to} }
	copied := fact(journal.Failed, "a")
	copied.Visit = &journal.Visit{Copy: "archive"}
	moved := fact(journal.Moved)
	moved.Text = "file:/x"
	for want, facts := range map[string][]*journal.Fact{
		"delivered":                        {fact(journal.Accepted, "a"), fact(journal.Delivered, "a"), copied},
		"1 delivered, 1 failed":            {fact(journal.Accepted, "a", "b"), fact(journal.Failed, "b"), fact(journal.Delivered, "a")},
		"1 delivered, 1 deleted":           {fact(journal.Accepted, "a", "b"), fact(journal.Deleted, "a", "b"), fact(journal.Delivered, "a")},
		"without a known end":              {fact(journal.Accepted, "a"), fact(journal.Deferred, "a")},
		"1 expired, 1 without a known end": {fact(journal.Accepted, "a", "b"), fact(journal.Expired, "a")},
		"moved to file:/x":                 {fact(journal.Accepted, "a"), moved},
		"not in the journal":               nil,
	} {
		if got := (&story{facts: facts}).state(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestSpan(t *testing.T) {
	for want, d := range map[string]time.Duration{"7d": 168 * time.Hour, "36h": 36 * time.Hour, "10s": 10 * time.Second, "90m": 90 * time.Minute, "1m30s": 90 * time.Second, "0s": 0} {
		if got := span(d); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// The flags are the admin API's parameters, whatever is in them; --address is a mail address, and the admin API's where it has no @.
func TestHistoryQuery(t *testing.T) {
	a := newAdmin(t)
	a.run(t, "", "history", "--user", "nobody", "--state", "failed,expired", "--state", "held", "--hop-id", "x y&id=1", "--address", "bob@example.net", "--sender", "", "--since", "2d", "--error", "5.7.1")
	if want := "GET /msa/history?address=bob%40example.net&error=5.7.1&hop_id=x+y%26id%3D1&limit=100&sender=&since=2d&state=failed%2Cexpired%2Cheld&user=nobody"; a.asked[0] != want {
		t.Errorf("asked %s", a.asked[0])
	}
	server := strings.TrimPrefix(a.URL, "http://")
	for _, args := range [][]string{{"--admin", server, "--address", "bob@example.net"}, {"--address", "bob@example.net", "--address", server}} {
		root := historyCommand()
		root.SetOut(new(bytes.Buffer))
		root.SetArgs(args)
		if err := root.Execute(); err != nil || a.asked[len(a.asked)-1] != "GET /msa/history?address=bob%40example.net&limit=100" {
			t.Errorf("%q: %v, asked %s", args, err, a.asked[len(a.asked)-1])
		}
	}
	a.Close()
	root := historyCommand()
	root.SetArgs([]string{"--admin", server})
	root.SilenceErrors = true
	if err := root.Execute(); err == nil || !strings.Contains(err.Error(), "Name its address with --admin") {
		t.Errorf("%v", err)
	}
}

// What is about no message has no return path, and <> is one.
func TestSenderOfFact(t *testing.T) {
	t.Parallel()
	for want, f := range map[string]journal.Fact{
		"-":             {What: journal.Paused},
		"<>":            {What: journal.Accepted, ID: "M1"},
		"a@example.org": {What: journal.Refused, Sender: "a@example.org"},
	} {
		if got := senderOf(&f); got != want {
			t.Errorf("%s: %s, want %s", f.What, got, want)
		}
	}
}
