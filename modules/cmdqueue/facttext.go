package cmdqueue

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
)

// words are those of texts that say something, each once, in their order.
func words(texts ...string) (all []string) {
	seen := make(map[string]bool)
	for _, text := range texts {
		if text = strings.TrimSpace(text); text != "" && !seen[text] {
			seen[text] = true
			all = append(all, text)
		}
	}
	return all
}

// after puts a word before what is there.
func after(word, text string) string {
	if text == "" {
		return ""
	}
	return word + " " + text
}

// visitOf is the attempt, empty where the fact is of none.
func visitOf(f *journal.Fact) journal.Visit {
	if f.Visit == nil {
		return journal.Visit{}
	}
	return *f.Visit
}

func submissionOf(f *journal.Fact) journal.Submission {
	if f.Submission == nil {
		return journal.Submission{}
	}
	return *f.Submission
}

// whom are the recipients: the first so many, and how many more there are.
func whom(f *journal.Fact, most int) string {
	if copy := visitOf(f).Copy; copy != "" {
		return "copy " + copy
	}
	count := max(f.Count, len(f.Recipients))
	switch {
	case count == 0:
		return "-"
	case len(f.Recipients) == 0:
		return fmt.Sprintf("%d recipients", count)
	case count <= most+1 && count == len(f.Recipients):
		return strings.Join(f.Recipients, " ")
	}
	shown := f.Recipients[:min(most, len(f.Recipients))]
	return fmt.Sprintf("%s and %d more", strings.Join(shown, " "), count-len(shown))
}

// gist is what there is to say in a line of a fact, beside message, sender and recipients.
func gist(f *journal.Fact) string {
	v, s := visitOf(f), submissionOf(f)
	switch f.What {
	case journal.Accepted:
		if s.Bounce {
			return "a notification"
		}
		user := f.User
		if user == f.Sender {
			user = ""
		}
		return strings.Join(append(words(after("user", user), size(s.Size), after("from", s.RemoteIP)), remarks(s.Policies)...), ", ")
	case journal.Delivered:
		return strings.Join(words(cmp.Or(v.Host, v.Address, v.Route), v.Answer, f.Text, after("queued as", hopID(&v))), ", ")
	case journal.Deferred, journal.Failed, journal.Expired:
		return strings.Join(words(f.Text, v.Answer, after("at", v.Host), after("by", f.By), nextAt(v.Next)), ", ")
	case journal.Bounced, journal.Told:
		return strings.Join(words(f.Text, after("notification", f.Notification)), ", ")
	case journal.Rerouted, journal.Moved:
		return strings.Join(words(after("to", f.Text), after("by", f.By)), ", ")
	case journal.Renamed:
		return strings.Join(words("now "+f.User, after("by", f.By)), ", ")
	case journal.Refused:
		policy := after("policy", f.Policy)
		if policy != "" && strings.HasPrefix(f.Text, policy) {
			policy = ""
		}
		return strings.Join(words(after(f.Moment+":", f.Reply), f.Text, v.Answer, policy, after("from", s.RemoteIP)), ", ")
	}
	return strings.Join(words(f.Text, after("policy", f.Policy), after("by", f.By)), ", ")
}

// hopID is the next hop's queue id, where its answer does not have it.
func hopID(v *journal.Visit) string {
	if strings.Contains(v.Answer, v.HopID) {
		return ""
	}
	return v.HopID
}

// remarks are the policies that did something.
func remarks(policies []string) (all []string) {
	for _, p := range policies {
		if strings.Contains(p, ":") {
			all = append(all, p)
		}
	}
	return all
}

func size(octets int64) string {
	if octets <= 0 {
		return ""
	}
	return humanize.IBytes(uint64(octets))
}

func nextAt(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return "next " + stamp(t)
}

// lasted is a duration as people read it.
func lasted(d time.Duration) string {
	switch {
	case d <= 0:
		return ""
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	}
	return d.Round(10 * time.Millisecond).String()
}
