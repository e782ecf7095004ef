package cmdqueue

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
	"github.com/caddy-msa/caddy-msa/caddymsa/adminclient"
	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
)

// story is what is known of a message.
type story struct {
	id            string
	facts         []*journal.Fact // the oldest first
	about         []*journal.Fact // of the message that this one is a notification about
	entry         *adminapi.Entry // in the queue, or nil
	notifications []*story        // in the order in which they were sent
	untold        int             // notifications that are not followed
}

// maxFollowed bounds the notifications that are followed.
const maxFollowed = 20

// traceJournal tells a message's story from the journal and the queue.
func traceJournal(w io.Writer, a *adminclient.Admin, id string) error {
	s, noJournal, err := findStory(a, id)
	if err != nil {
		return err
	}
	switch {
	case len(s.facts) == 0 && len(s.about) == 0 && s.entry == nil:
		return errors.New(strings.TrimSpace("nothing is known of "+id+": it is not in the queue, and the journal has nothing of it. "+whyNothing(a)) +
			" Another node may have accepted it, or this server into a spool that is not in its configuration any more. Log files may tell more: --log <file>")
	case len(s.facts) == 0 && s.entry != nil: // the queue has a history of its own
		show(w, s.entry)
		if noJournal == nil {
			noJournal = errors.New(strings.TrimSpace("The journal has nothing of it. " + whyNothing(a)))
		}
		_, err := fmt.Fprintf(w, "\n%s\n", printable(noJournal.Error()))
		return err
	}
	if err := s.follow(a); err != nil {
		return err
	}
	s.tell(printed{w, styleFor(w)})
	return nil
}

// findStory asks for what is known of a message. That there is no journal is no failure.
func findStory(a *adminclient.Admin, id string) (s *story, noJournal, err error) {
	s = &story{id: id}
	_, err = eachFact(a, url.Values{"id": {id}}, 0, func(p *adminapi.HistoryPage) error {
		for i := range p.Facts {
			if f := &p.Facts[i].Fact; f.ID == id {
				s.facts = append(s.facts, f)
			} else {
				s.about = append(s.about, f)
			}
		}
		return nil
	})
	if adminclient.IsRefused(err, http.StatusNotImplemented) {
		noJournal, err = err, nil
	}
	if err != nil {
		return nil, nil, err
	}
	slices.Reverse(s.facts)
	switch e, err := entry(a, id); {
	case err == nil:
		s.entry = e
	case !adminclient.IsRefused(err, http.StatusNotFound):
		return nil, nil, err
	}
	return s, noJournal, nil
}

// follow asks what became of the notifications about the message.
func (s *story) follow(a *adminclient.Admin) error {
	followed := make(map[string]bool)
	for _, f := range s.facts {
		if f.Notification == "" || followed[f.Notification] {
			continue
		}
		followed[f.Notification] = true
		if len(s.notifications) == maxFollowed {
			s.untold++
			continue
		}
		n, _, err := findStory(a, f.Notification)
		if err != nil {
			return err
		}
		s.notifications = append(s.notifications, n)
	}
	return nil
}

// accepted is the message's first fact, if the journal still has it.
func (s *story) accepted() *journal.Fact {
	for _, f := range s.facts {
		if f.What == journal.Accepted {
			return f
		}
	}
	return nil
}

// fates are what became of each recipient, in the order in which they were named. "": the journal has no end.
func (s *story) fates() (order []string, of map[string]journal.Kind) {
	of = make(map[string]journal.Kind)
	for _, f := range s.facts {
		if visitOf(f).Copy != "" { // of the copy, not of the recipients
			continue
		}
		for _, r := range f.Recipients {
			if _, known := of[r]; !known {
				order, of[r] = append(order, r), ""
			}
			switch {
			case f.What.Final():
				of[r] = f.What
			case f.What == journal.Deferred: // a dead letter was retried
				of[r] = ""
			}
		}
	}
	return order, of
}

// state is how it stands with the message.
func (s *story) state() string {
	if s.entry != nil {
		return s.entry.State
	}
	order, of := s.fates()
	var kinds []journal.Kind
	count := make(map[journal.Kind]int)
	for _, r := range order {
		if count[of[r]]++; count[of[r]] == 1 {
			kinds = append(kinds, of[r])
		}
	}
	var texts []string
	for _, k := range kinds {
		text := string(k)
		if k == "" {
			text = "without a known end"
		}
		if len(kinds) > 1 {
			text = fmt.Sprintf("%d %s", count[k], text)
		}
		texts = append(texts, text)
	}
	if n := len(s.facts); n > 0 && s.facts[n-1].What == journal.Moved {
		texts = []string{"moved to " + s.facts[n-1].Text}
	}
	if len(texts) == 0 {
		return "not in the journal"
	}
	return strings.Join(texts, ", ")
}
