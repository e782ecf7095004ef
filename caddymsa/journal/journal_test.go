package journal

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

func fact() *Fact {
	return &Fact{
		Time: noon, What: Deferred, ID: "Q1", Server: "msa.example.org", User: "Alice", Sender: "Alice@EXAMPLE.org",
		Recipients: []string{"bob@bücher.example", `"a b"@example.com`}, Text: "451 4.2.0 Mailbox Busy", Notification: "Q2",
		Visit: &Visit{Answer: "451 Graylisted", HopID: "4XyZ"},
	}
}

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		q    Query
		want bool
	}{
		{Query{}, true},
		{Query{ID: "Q1"}, true},
		{Query{ID: "Q2"}, true}, // the notification about it
		{Query{ID: "q1"}, false},
		{Query{User: "alice"}, true},
		{Query{User: "bob"}, false},
		{Query{Sender: "alice@example.org"}, true},
		{Query{Sender: "bob@bücher.example"}, false},
		{Query{Recipient: "BOB@xn--bcher-kva.example"}, true},
		{Query{Recipient: "alice@example.org"}, false},
		{Query{Address: "alice@example.org"}, true},
		{Query{Address: `"A B"@example.com`}, true},
		{Query{Address: "a@example.com"}, false},
		{Query{What: []Kind{Delivered, Deferred}}, true},
		{Query{What: []Kind{Delivered}}, false},
		{Query{Since: noon}, true},
		{Query{Since: noon.Add(1)}, false},
		{Query{Until: noon}, false},
		{Query{Until: noon.Add(1)}, true},
		{Query{HopID: "4XyZ"}, true},
		{Query{HopID: "4xyz"}, false},
		{Query{Text: "mailbox BUSY"}, true},
		{Query{Text: "gray"}, true},
		{Query{Text: "full"}, false},
		{Query{ID: "Q1", User: "bob"}, false},
	} {
		if got := c.q.Match(fact()); got != c.want {
			t.Errorf("%+v: %v", c.q, got)
		}
		keys := fact().Keys()
		for _, key := range c.q.Keys() {
			if c.want && !slices.Contains(keys, key) {
				t.Errorf("%+v matches, and the fact has no key %q", c.q, key)
			}
		}
	}
	bare := &Fact{What: Refused}
	for _, q := range []Query{{HopID: "x"}, {Text: "x"}, {Recipient: "a@b.example"}, {ID: "x"}} {
		if q.Match(bare) {
			t.Errorf("%+v matches a fact that says nothing", q)
		}
	}
	if keys := bare.Keys(); len(keys) != 0 {
		t.Errorf("keys %q", keys)
	}
}

func TestFold(t *testing.T) {
	for _, same := range [][]string{
		{"alice", "ALICE"},
		{"Alice@Example.org", "alice@example.ORG"},
		{"bob@bücher.example", "BOB@XN--BCHER-KVA.example"},
		{`"bob"@example.org`, "bob@example.org"},
		{""},
	} {
		for _, s := range same {
			if Fold(s) != Fold(same[0]) || Fold(Fold(s)) != Fold(s) {
				t.Errorf("%q folds to %q, %q to %q", s, Fold(s), same[0], Fold(same[0]))
			}
		}
	}
	if Fold("a@example.org") == Fold("b@example.org") {
		t.Error("two are one")
	}
}

func TestForget(t *testing.T) {
	f := &Fact{
		User: "BOB@example.org", Sender: "bob@example.org", Recipients: []string{"alice@example.org", "Bob@Example.org"}, By: "bob@example.org",
		Text:       "550 5.1.1 <bob@example.org>: no such user; (BOB@EXAMPLE.ORG). to=bob@example.org. notbob@example.org bob@example.org.uk",
		Reply:      "bob@example.org",
		Submission: &Submission{EnvelopeID: "x-bob@example.org", Helo: "[bob@example.org]"},
		Visit:      &Visit{Answer: "'bob@example.org' is unknown"},
	}
	recipients, visit := f.Recipients, f.Visit
	if !f.Forget("bob@EXAMPLE.org") {
		t.Fatal("it was not there")
	}
	if recipients[1] != "Bob@Example.org" || !strings.Contains(visit.Answer, "bob") {
		t.Error("what another holds was changed")
	}
	if f.Text != "550 5.1.1 <(purged)>: no such user; ((purged)). to=(purged). notbob@example.org bob@example.org.uk" {
		t.Errorf("text %q", f.Text)
	}
	if f.User != Forgotten || f.Sender != Forgotten || f.By != Forgotten || f.Reply != Forgotten || f.Answer != "'(purged)' is unknown" ||
		f.Helo != "[(purged)]" || f.EnvelopeID != "x-bob@example.org" || !slices.Equal(f.Recipients, []string{"alice@example.org", Forgotten}) {
		t.Errorf("%+v %+v %+v", f, f.Submission, f.Visit)
	}
	if f.Forget("bob@example.org") {
		t.Error("it is still there")
	}
	intl := &Fact{Text: "no <bob@xn--bcher-kva.example> here, nor Bob@bücher.example"}
	if !intl.Forget("bob@bücher.example") || intl.Text != "no <(purged)> here, nor (purged)" {
		t.Errorf("text %q", intl.Text)
	}
	quoted := &Fact{Text: `no <"a b"@example.com> here`}
	if !quoted.Forget(`"a b"@example.com`) || quoted.Text != "no <(purged)> here" {
		t.Errorf("text %q", quoted.Text)
	}
	stored := &Fact{Visit: &Visit{Answer: "stored in /var/mail/example.org/bob"}, Text: "/var/mail/example.org/bob/tmp: full; example.org/bob.x mail.example.org/bob"}
	if !stored.Forget("bob@example.org") || stored.Answer != "stored in /var/mail/(purged)" || stored.Text != "/var/mail/(purged)/tmp: full; example.org/bob.x mail.example.org/bob" {
		t.Errorf("%q, text %q", stored.Answer, stored.Text)
	}
	user := &Fact{User: "alice", Text: "alice"}
	if !user.Forget("ALICE") || user.User != Forgotten || user.Text != "alice" {
		t.Errorf("%+v", user)
	}
	if user.Forget("") {
		t.Error("nothing was there")
	}
}

// Whoever puts marks around an address, as many as fit into a reply, holds up no purge: a word is compared a few times.
func TestForgetMarks(t *testing.T) {
	for text, want := range map[string]string{
		"''bob@example.org'!":        "''(purged)'!",
		"**'bob@example.org'** said": "**'(purged)'** said",
		"=bob@example.org.":          "=(purged).",
		"'bobx@example.org'":         "'bobx@example.org'",
	} {
		f := &Fact{Text: text}
		if f.Forget("bob@example.org"); f.Text != want {
			t.Errorf("%q became %q", text, f.Text)
		}
	}
	for _, text := range []string{"''=bob@example.org'", "=bob@example.org", "!=bob@example.org."} {
		f := &Fact{Text: text}
		if want := strings.Replace(text, "=bob@example.org", Forgotten, 1); !f.Forget("=bob@example.org") || f.Text != want {
			t.Errorf("%q became %q", text, f.Text)
		}
	}
	marks := strings.Repeat("'", 200)
	if n := testing.AllocsPerRun(1, func() { forgetWord(marks+"A@B"+marks, "bob@example.org") }); n > 1000 {
		t.Errorf("it takes %v allocations", n)
	}
}

func TestNotes(t *testing.T) {
	var n Notes
	n.SetLimits(Limits{Keep: time.Hour, MaxSize: 360_000}) // 3,600 octets at once, 10 a second
	f := Fact{Time: noon, What: Refused, User: "alice", Text: strings.Repeat("x", 300)}
	text, _ := json.Marshal(&f)
	fit := 3600 / len(text)
	for range 100 {
		n.Add(noon, f)
	}
	if s := n.Stat(); s.Waiting != fit || !s.Since.Equal(noon) {
		t.Errorf("%d wait since %v, want %d", s.Waiting, s.Since, fit)
	}
	if got := len(n.Take()); got != fit || n.Stat().Waiting != 0 || !n.Stat().Since.IsZero() || n.Stat().Dropped != int64(100-fit) {
		t.Errorf("%d were kept and %d dropped, %d fit", got, n.Stat().Dropped, fit)
	}
	back := noon.Add(-time.Hour)
	n.Add(back, f) // a clock that was set back brings nothing
	n.Add(back, f)
	if len(n.Take()) != 0 {
		t.Error("kept beyond the quota")
	}
	n.Add(back.Add(time.Duration(len(text))*time.Second/10+time.Second), f)
	if len(n.Take()) != 1 {
		t.Error("the quota does not come back")
	}
	n.SetLimits(Limits{})
	for range 2 * noteWaiting {
		n.Add(noon, f)
	}
	if got := len(n.Take()); got != noteWaiting {
		t.Errorf("%d wait", got)
	}
	n.SetLimits(Limits{Off: true})
	n.Add(noon, f)
	if len(n.Take()) != 0 {
		t.Error("kept although it is off")
	}
}

// A fact that a newer version wrote has fields of which this one knows nothing.
func TestNewerFact(t *testing.T) {
	var f Fact
	if err := json.Unmarshal([]byte(`{"time":"2026-05-04T12:00:00Z","what":"teleported","id":"Q1","where":{"x":[1]},"lane":"a","size":3}`), &f); err != nil {
		t.Fatal(err)
	}
	if f.What != "teleported" || f.What.Final() || f.ID != "Q1" || f.Lane != "a" || f.Size != 3 {
		t.Errorf("%+v", f)
	}
}

func FuzzFact(f *testing.F) {
	text, _ := json.Marshal(fact())
	f.Add(text, "alice@example.org", "busy")
	f.Add([]byte(`{"time":"2026-05-04T12:00:00Z","what":"x","new":[{}],"next":"0001-01-01T00:00:00Z","recipients":["a@b","@","\"@"]}`), "a@b", "")
	f.Fuzz(func(t *testing.T, text []byte, address, part string) {
		var a, b Fact
		if json.Unmarshal(text, &a) != nil {
			return
		}
		again, err := json.Marshal(&a)
		if err != nil {
			return // a time that JSON does not have
		}
		if err := json.Unmarshal(again, &b); err != nil {
			t.Fatalf("what was written is not read: %v", err)
		}
		third, err := json.Marshal(&b)
		if err != nil || string(third) != string(again) {
			t.Fatalf("%s became %s (%v)", again, third, err)
		}
		keys := a.Keys()
		for _, q := range []Query{{Address: address}, {User: address}, {ID: address}, {Sender: address}, {Recipient: address}, {Text: part}, {HopID: part}} {
			if q.Match(&a) {
				for _, key := range q.Keys() {
					if !slices.Contains(keys, key) {
						t.Fatalf("%+v matches, and %q is no key of %s", q, key, again)
					}
				}
			}
		}
		before := fmt.Sprint(a.Recipients)
		c := a
		was := c.Forget(address)
		if c.Forget(address) && Fold(address) != Fold(Forgotten) {
			t.Fatalf("%q is still there", address)
		}
		if before != fmt.Sprint(a.Recipients) || !was && !reflect.DeepEqual(a.Keys(), c.Keys()) {
			t.Fatal("the fact was changed")
		}
	})
}
