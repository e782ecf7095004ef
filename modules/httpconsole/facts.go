package httpconsole

import (
	"cmp"
	"strings"

	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
)

// gist is what there is to say of a fact in a line, beside message, sender and recipients.
func gist(f *journal.Fact) string {
	v, s := visitOf(f), f.Submission
	if s == nil {
		s = new(journal.Submission)
	}
	switch f.What {
	case journal.Accepted:
		if s.Bounce {
			return "a notification"
		}
		return list("from "+cmp.Or(s.RemoteIP, "a local socket"), before("EHLO ", s.Helo))
	case journal.Delivered:
		id := v.HopID
		if strings.Contains(v.Answer, id) {
			id = ""
		}
		return list(cmp.Or(v.Host, v.Address, v.Route), v.Answer, f.Text, before("queued as ", id))
	case journal.Deferred, journal.Failed, journal.Expired:
		return list(f.Text, v.Answer, before("at ", v.Host), before("by ", f.By))
	case journal.Rerouted, journal.Moved:
		return list(before("to ", f.Text), before("by ", f.By))
	case journal.Renamed:
		return list("now "+f.User, before("by ", f.By))
	case journal.Refused:
		return list(before(f.Moment+": ", f.Reply), f.Text, v.Answer, before("policy ", f.Policy), before("from ", s.RemoteIP), before("EHLO ", s.Helo))
	}
	return list(f.Text, before("policy ", f.Policy), before("by ", f.By))
}

func visitOf(f *journal.Fact) *journal.Visit {
	if f.Visit == nil {
		return new(journal.Visit)
	}
	return f.Visit
}

// list joins what says something, each once.
func list(texts ...string) string {
	var all []string
	for _, text := range texts {
		if text = strings.TrimSpace(text); text != "" && !strings.Contains(strings.Join(all, ", "), text) {
			all = append(all, text)
		}
	}
	return strings.Join(all, ", ")
}

func before(word, text string) string {
	if text == "" {
		return ""
	}
	return word + text
}

// Gist is of the latest fact.
func (m *past) Gist() string { return gist(m.Fact) }
