package integration

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
	"github.com/caddy-msa/caddy-msa/modules/spoolfile"
)

// readJournal returns the facts in a spool whose process has ended, in the order in which they are followed.
func readJournal(t *testing.T, dir string) (all []journal.Fact) {
	t.Helper()
	spool, err := spoolfile.Open(dir, spoolfile.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := spool.Close(); err != nil {
			t.Error(err)
		}
	}()
	for after := journal.Position(""); ; {
		facts, err := spool.Follow(context.Background(), after, 1000)
		if err != nil {
			t.Fatal(err)
		}
		if len(facts) == 0 {
			return all
		}
		all = append(all, facts...)
		after = facts[len(facts)-1].Position
	}
}

// checkFates holds a journal to its promise: a message was accepted once, and each of its recipients has one end, unless
// it still waits (pending). What follows a message's end, or comes before its beginning, is an error.
func checkFates(t *testing.T, facts []journal.Fact, pending func(id string) bool) (accepted map[string]bool) {
	t.Helper()
	accepted = make(map[string]bool)
	to := make(map[string][]string)
	ends := make(map[[2]string]int)
	for i := range facts {
		f := &facts[i]
		switch {
		case f.What == journal.Refused:
		case f.What == journal.Accepted:
			if accepted[f.ID] {
				t.Errorf("%s was accepted twice", f.ID)
			}
			accepted[f.ID], to[f.ID] = true, f.Recipients
		case !accepted[f.ID]:
			t.Errorf("%s was %s before it was accepted", f.ID, f.What)
		case f.What.Final():
			for _, r := range f.Recipients {
				ends[[2]string{f.ID, r}]++
			}
		}
	}
	for id, rcpts := range to {
		for _, r := range rcpts {
			n := ends[[2]string{id, r}]
			if n > 1 || n == 0 && !pending(id) || n == 1 && pending(id) && len(rcpts) == 1 {
				t.Errorf("%s to %s has %d ends; it waits: %v", id, r, n, pending(id))
			}
		}
	}
	return accepted
}

// played is a dialogue, and when it was played.
type played struct {
	name string
	at   time.Time
}

// goldenFacts compares what the journal says after dialogues that were played one after the other with the files
// NAME.facts beside them: a line for each fact, without what differs from time to time. Where nothing is said there is no file.
func goldenFacts(t *testing.T, dir string, facts []journal.Fact, dialogues []played) {
	t.Helper()
	told := make([]strings.Builder, len(dialogues))
	of := make(map[string]int)       // dialogues, by message
	alias := make(map[string]string) // queue ids as they are written
	slices.SortStableFunc(facts, func(a, b journal.Fact) int { return a.Time.Compare(b.Time) })
	for i := range facts {
		f := &facts[i]
		n, known := of[f.ID]
		if !known || f.ID == "" {
			n = sort.Search(len(dialogues), func(n int) bool { return dialogues[n].at.After(f.Time) }) - 1
			of[f.ID] = n
		}
		for _, id := range []string{f.ID, f.Notification} {
			if id != "" && alias[id] == "" {
				alias[id] = fmt.Sprintf("Q%d", strings.Count(told[n].String(), "\taccepted\t")+1)
			}
		}
		told[n].WriteString(strings.ReplaceAll(tellFact(f, alias), dir, "$DIR"))
	}
	for n, d := range dialogues {
		golden := "dialogue/" + d.name + ".facts"
		got := told[n].String()
		want, _ := os.ReadFile(golden)
		if *update && len(want) == 0 && got != "" {
			if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if got != string(want) {
			t.Errorf("%s: the journal says\n%s\nwant, as %s has it:\n%s", d.name, got, golden, want)
		}
	}
}

// tellFact writes a fact as a line.
func tellFact(f *journal.Fact, alias map[string]string) string {
	var b strings.Builder
	id := alias[f.ID]
	if id == "" {
		id = "-"
	}
	fmt.Fprintf(&b, "%s\t%s\t<%s>", id, f.What, f.Sender)
	if len(f.Recipients) > 0 {
		fmt.Fprintf(&b, " -> %s", strings.Join(f.Recipients, " "))
	}
	say := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, " %s=%q", name, value)
		}
	}
	say("user", f.User)
	if s := f.Submission; s != nil {
		say("mechanism", s.Mechanism)
		say("helo", s.Helo)
		say("body", s.Body)
		say("envid", s.EnvelopeID)
		say("policies", strings.Join(s.Policies, ", "))
		if s.Priority != 0 {
			say("priority", strconv.Itoa(s.Priority))
		}
		if f.Session == "" && !s.Bounce || s.RemoteIP != "127.0.0.1" && !s.Bounce || !strings.HasPrefix(s.ClientTLS, "TLS") && !s.Bounce {
			say("incomplete", fmt.Sprint(*s))
		}
	}
	say("moment", f.Moment)
	say("reply", f.Reply)
	if v := f.Visit; v != nil {
		say("route", v.Route)
		say("attempt", strconv.Itoa(v.Attempt))
		say("answer", v.Answer)
	}
	say("policy", f.Policy)
	say("by", f.By)
	say("notification", alias[f.Notification])
	say("text", f.Text)
	return b.String() + "\n"
}
