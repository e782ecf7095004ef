package integration

import (
	"context"
	"fmt"
	"os"
	"regexp"
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

// checkFates holds a journal to its promise: a message was accepted once, and each of its recipients has one end, as has
// each copy, unless it still waits (pending). What comes before a message's beginning, or an attempt after an end, is an
// error.
func checkFates(t *testing.T, facts []journal.Fact, pending func(id string) bool) (accepted map[string]bool) {
	t.Helper()
	accepted = make(map[string]bool)
	to := make(map[string][]string)
	ends := make(map[fate][]journal.Kind)
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
				key := fate{f.ID, copyOf(f), r}
				ends[key] = append(ends[key], f.What)
			}
		case f.What == journal.Deferred:
			for _, r := range f.Recipients {
				if key := (fate{f.ID, copyOf(f), r}); len(ends[key]) > 0 {
					t.Errorf("%s was put off after its end, %v", key, ends[key])
				}
			}
		}
	}
	for key, what := range ends {
		// What was under way to a next hop when its message was deleted may be delivered all the same.
		if len(what) > 1 && !slices.Equal(what, []journal.Kind{journal.Deleted, journal.Delivered}) {
			t.Errorf("%s has the ends %v", key, what)
		}
	}
	for id, rcpts := range to {
		for _, r := range rcpts {
			n := len(ends[fate{id, "", r}])
			if n == 0 && !pending(id) || n == 1 && pending(id) && len(rcpts) == 1 {
				t.Errorf("%s to %s has %d ends; it waits: %v", id, r, n, pending(id))
			}
		}
	}
	return accepted
}

// fate is what has one end: a message's recipient, or one that a copy has.
type fate struct{ id, copy, rcpt string }

func copyOf(f *journal.Fact) string {
	if f.Visit == nil {
		return ""
	}
	return f.Copy
}

// played is a dialogue, and when it was played.
type played struct {
	name string
	at   time.Time
}

// thread is what is said of one message, or of one refusal.
type thread struct{ facts []*journal.Fact }

// tell writes it a line for each fact. Deliveries that differ in the next hop's queue id alone are one.
func (th *thread) tell(alias map[string]string) string {
	var lines []string
	delivered := make(map[string]*journal.Fact) // by their lines without recipients
	var facts []*journal.Fact
	for _, f := range th.facts {
		c := *f
		c.Recipients = nil
		if key := tellFact(&c, alias); f.What != journal.Delivered {
			facts = append(facts, f)
		} else if same := delivered[key]; same != nil {
			same.Recipients = append(same.Recipients, f.Recipients...)
		} else {
			delivered[key] = f
			facts = append(facts, f)
		}
	}
	for _, f := range facts {
		if f.What == journal.Delivered {
			slices.Sort(f.Recipients)
		}
		lines = append(lines, tellFact(f, alias))
	}
	for i := 0; i < len(lines); { // those that were delivered side by side
		n := slices.IndexFunc(lines[i:], func(line string) bool { return !strings.Contains(line, "\tdelivered\t") })
		if n < 0 {
			n = len(lines) - i
		}
		slices.Sort(lines[i : i+n])
		i += max(n, 1)
	}
	return strings.Join(lines, "")
}

// What differs from time to time: the seconds of a wait, and where a Maildir says that it stored things, since recipients
// whose copies got one name share an answer.
var (
	seconds = regexp.MustCompile(`come back in [0-9]+ s`)
	stored  = regexp.MustCompile(`stored (in|below) [^"]*`)
)

// goldenFacts compares what the journal says after dialogues that were played one after the other with the files
// NAME.facts beside them: a line for each fact, without what differs from time to time. Where nothing is said there is no file.
func goldenFacts(t *testing.T, dir string, facts []journal.Fact, dialogues []played) {
	t.Helper()
	told := make([][]*thread, len(dialogues))
	messages := make([]int, len(dialogues))
	of := make(map[string]*thread)   // by message
	alias := make(map[string]string) // queue ids as they are written
	slices.SortStableFunc(facts, func(a, b journal.Fact) int { return a.Time.Compare(b.Time) })
	for i := range facts {
		f := &facts[i]
		to := of[f.ID]
		if to == nil || f.ID == "" {
			n := sort.Search(len(dialogues), func(n int) bool { return dialogues[n].at.After(f.Time) }) - 1
			to = new(thread)
			told[n] = append(told[n], to)
			if f.ID != "" {
				of[f.ID] = to
				messages[n]++
				alias[f.ID] = fmt.Sprintf("Q%d", messages[n])
			}
		}
		to.facts = append(to.facts, f)
	}
	for n, d := range dialogues {
		golden := "dialogue/" + d.name + ".facts"
		got := ""
		for _, th := range told[n] {
			got += strings.ReplaceAll(th.tell(alias), dir, "$DIR")
		}
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
		say("app_password", s.AppPassword)
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
	line := stored.ReplaceAllString(b.String(), "stored *")
	return seconds.ReplaceAllString(line, "come back in * s") + "\n"
}
