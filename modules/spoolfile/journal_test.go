package spoolfile

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// acceptedFact and deliveredFact are what the queue writes of a usual message.
func acceptedFact(id string, n int) journal.Fact {
	return journal.Fact{Time: noon.Add(time.Duration(n) * time.Second), What: journal.Accepted, ID: id, Server: "msa.example.org",
		User: fmt.Sprintf("user%d@example.org", n%1000), Sender: fmt.Sprintf("user%d@example.org", n%1000), Recipients: []string{fmt.Sprintf("rcpt%d@example.net", n%5000)}, Count: 1,
		Submission: &journal.Submission{Size: 4096, Body: "8BITMIME", RemoteIP: "192.0.2.17", Helo: "client.example.org",
			ClientTLS: "TLS 1.3 TLS_AES_128_GCM_SHA256", Mechanism: "PLAIN", AppPassword: "phone", Session: "6B1E0C", Policies: []string{"senders", "rspamd"}}}
}

func deliveredFact(id string, n int) journal.Fact {
	return journal.Fact{Time: noon.Add(time.Duration(n) * time.Second), What: journal.Delivered, ID: id, Server: "msa.example.org",
		User: fmt.Sprintf("user%d@example.org", n%1000), Sender: fmt.Sprintf("user%d@example.org", n%1000), Recipients: []string{fmt.Sprintf("rcpt%d@example.net", n%5000)}, Count: 1,
		Visit: &journal.Visit{Route: "default", Lane: "relay/mx.example.net", Attempt: 1, Host: "mx.example.net", Address: "198.51.100.4:25",
			TLS: "TLS 1.3 TLS_AES_128_GCM_SHA256", Answer: "250 2.0.0 Ok: queued as 4Xb9Qz1", HopID: "4Xb9Qz" + id, Duration: 217 * time.Millisecond}}
}

// commitOne has a message with facts accepted.
func commitOne(t testing.TB, s *Store, id string, facts ...journal.Fact) {
	t.Helper()
	d, err := s.Create(background)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = d.Write([]byte("x\r\n"))
	a := testAccept(id)
	a.Entry.Size = int64(len(testHeader) + 3)
	a.Facts = facts
	if err := d.Commit(background, a); err != nil {
		t.Fatal(err)
	}
}

// story is what facts say, in short.
func story(facts []journal.Fact) string {
	all := make([]string, len(facts))
	for i := range facts {
		all[i] = string(facts[i].What) + " " + facts[i].ID
	}
	return strings.Join(all, ", ")
}

func follow(t testing.TB, s *Store, after journal.Position, limit int) []journal.Fact {
	t.Helper()
	facts, err := s.Follow(background, after, limit)
	if err != nil {
		t.Fatal(err)
	}
	return facts
}

func queryFacts(t testing.TB, s *Store, q *journal.Query) (facts []journal.Fact) {
	t.Helper()
	if err := s.Facts(background, q, func(f *journal.Fact) bool { facts = append(facts, *f); return true }); err != nil {
		t.Fatal(err)
	}
	return facts
}

// Facts are stored with what they tell of and read in the order of the commits, also after the next start.
func TestJournal(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, Options{})
	commitOne(t, s, "Q1", journal.Fact{What: journal.Accepted, ID: "Q1", Sender: "Alice@Example.org"})
	commitOne(t, s, "Q2", journal.Fact{What: journal.Accepted, ID: "Q2", Recipients: []string{"bob@example.net"}})
	l, _, err := s.Lease(background, noon, queue.Want{})
	if err != nil {
		t.Fatal(err)
	}
	d, _ := s.Create(background)
	a := testAccept("Q3")
	a.Facts = []journal.Fact{{What: journal.Accepted, ID: "Q3"}}
	r := as(l, queue.Delivered)
	r.Facts = []journal.Fact{{What: journal.Delivered, ID: "Q1"}, {What: journal.Told, ID: "Q1", Notification: "Q3"}}
	r.Messages = []queue.MessageDraft{{Draft: d, Accept: *a}}
	if err := l.Record(background, r); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Change(background, "Q2", func(v *queue.EntryView) error {
		v.Facts = []journal.Fact{{What: journal.Held, ID: "Q2"}}
		v.Status.Held = "for a test"
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Delete(background, "Q2", journal.Fact{What: journal.Deleted, ID: "Q2"}); err != nil {
		t.Fatal(err)
	}
	s.Note(journal.Fact{What: journal.Refused, User: "carol"})
	const want = "accepted Q1, accepted Q2, delivered Q1, told Q1, accepted Q3, held Q2, deleted Q2, refused "
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, dir, Options{})
	if got := story(follow(t, s, "", 100)); got != want {
		t.Errorf("%q", got)
	}
	var after journal.Position
	var all []journal.Fact
	for range 9 {
		one := follow(t, s, after, 1)
		all = append(all, one...)
		if len(one) == 1 {
			after = one[0].Position
		}
	}
	if got := story(all); got != want {
		t.Errorf("one by one: %q", got)
	}
	if err := s.SetCursor(background, "hook", after); err != nil {
		t.Fatal(err)
	}
	s.Close()
	s = mustOpen(t, dir, Options{})
	p, err := s.Cursor(background, "hook")
	if err != nil || p != after || len(follow(t, s, p, 9)) != 0 {
		t.Errorf("the cursor is %q, %v", p, err)
	}
	commitOne(t, s, "Q4", journal.Fact{What: journal.Accepted, ID: "Q4"})
	if got := story(follow(t, s, p, 9)); got != "accepted Q4" {
		t.Errorf("%q after the cursor", got)
	}
	if p, err := s.Cursor(background, "other"); p != "" || err != nil {
		t.Errorf("a cursor of which nothing was said is %q, %v", p, err)
	}
	if err := s.DropCursor(background, "hook"); err != nil {
		t.Error(err)
	}
	if p, _ := s.Cursor(background, "hook"); p != "" {
		t.Errorf("a cursor that was dropped is %q", p)
	}
	if err := s.SetCursor(background, "hook", "nonsense"); err == nil {
		t.Error("a position that is none was taken")
	}
	back := queryFacts(t, s, &journal.Query{ID: "Q1"})
	slices.Reverse(back)
	if got := story(back); got != "accepted Q1, delivered Q1, told Q1" {
		t.Errorf("%q", got)
	}
	if got := story(queryFacts(t, s, &journal.Query{Before: back[1].Position})); got != "accepted Q2, accepted Q1" {
		t.Errorf("%q", got)
	}
}

// A journal that is off takes nothing new and shows what there is.
func TestJournalOff(t *testing.T) {
	s := mustOpen(t, t.TempDir(), Options{})
	commitOne(t, s, "Q1", journal.Fact{What: journal.Accepted, ID: "Q1"})
	s.SetLimits(journal.Limits{Off: true})
	commitOne(t, s, "Q2", journal.Fact{What: journal.Accepted, ID: "Q2"})
	s.Note(journal.Fact{What: journal.Refused})
	if _, err := s.Delete(background, "Q1", journal.Fact{What: journal.Deleted, ID: "Q1"}); err != nil {
		t.Fatal(err)
	}
	if err := s.book.writeNotes(); err != nil {
		t.Fatal(err)
	}
	if got := story(follow(t, s, "", 100)); got != "accepted Q1" {
		t.Errorf("%q", got)
	}
}

func mustOpen(t testing.TB, dir string, o Options) *Store {
	t.Helper()
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}
