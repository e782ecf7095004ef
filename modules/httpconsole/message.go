package httpconsole

import (
	"errors"
	"net/http"
	"net/url"
	"slices"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
)

// messagePage is a message's whole story.
type messagePage struct {
	story
	Notifications []*story
	Unfollowed    int // notifications that are not followed
	Servers       []string
}

// story is what queue and journal say of a message.
type story struct {
	ID       string
	Entry    *adminapi.Entry // in the queue, or nil
	Accepted *journal.Fact   // or nil: the journal has forgotten it
	Facts    []fact          // the oldest first
	About    string          // the message that this one is a notification about
	Fates    []fate
	NoFacts  string // why there are none
}

// fact is one of the journal's.
type fact struct{ *journal.Fact }

// Gist is the fact in a line.
func (f fact) Gist() string { return gist(f.Fact) }

// Attempted is the attempt that it tells of, or nil.
func (f fact) Attempted() *journal.Visit { return f.Visit }

// fate is what became of a recipient.
type fate struct{ Address, State, Text, Lane string }

// What a story takes at most.
const (
	maxFacts    = 3000
	maxFollowed = 20
)

func loadMessage(v *visit) (any, error) {
	id := v.Query.Get("id")
	p := new(messagePage)
	s, err := storyOf(v, id)
	if err != nil {
		return nil, err
	}
	p.story = *s
	if s.Entry == nil && len(s.Facts) == 0 {
		return nil, caddyhttp.Error(http.StatusNotFound, errors.New("nothing is known of "+id+": it is not in the queue, and the journal has nothing of it (any more)"))
	}
	followed := make(map[string]bool)
	for _, f := range s.Facts {
		if f.Notification == "" || followed[f.Notification] {
			continue
		}
		followed[f.Notification] = true
		if len(p.Notifications) == maxFollowed {
			p.Unfollowed++
			continue
		}
		n, err := storyOf(v, f.Notification)
		if err != nil {
			return nil, err
		}
		p.Notifications = append(p.Notifications, n)
	}
	if p.Servers, err = servers(v); err != nil {
		return nil, err
	}
	return p, nil
}

// Story is the message's own.
func (p *messagePage) Story() *story { return &p.story }

func storyOf(v *visit, id string) (*story, error) {
	s := &story{ID: id}
	if id == "" {
		return nil, caddyhttp.Error(http.StatusBadRequest, errors.New("name a message: ?id="))
	}
	e := new(adminapi.Entry)
	switch err := v.get("/msa/queue/"+url.PathEscape(id), nil, e); {
	case err == nil:
		s.Entry = e
	case statusOf(err) != http.StatusNotFound:
		return nil, err
	}
	q := url.Values{"id": {id}, "limit": {"1000"}}
	for n := 0; n < maxFacts; n += 1000 {
		page := new(adminapi.HistoryPage)
		if err := v.get("/msa/history", q, page); err != nil {
			if statusOf(err) == http.StatusNotImplemented {
				s.NoFacts = said(err)
				break
			}
			return nil, err
		}
		for i := range page.Facts {
			if f := &page.Facts[i].Fact; f.ID == id {
				s.Facts = append(s.Facts, fact{f})
			} else {
				s.About = f.ID
			}
		}
		if page.Next == "" {
			break
		}
		q.Set("before", page.Next)
	}
	slices.Reverse(s.Facts)
	for _, f := range s.Facts {
		if f.What == journal.Accepted {
			s.Accepted = f.Fact
			break
		}
	}
	s.Fates = s.fates()
	return s, nil
}

// fates are what became of each recipient, as the queue has it, or else the journal.
func (s *story) fates() (all []fate) {
	if s.Entry != nil && len(s.Entry.Recipients) > 0 {
		for _, r := range s.Entry.Recipients {
			state := string(r.State)
			if state == "" || state == "pending" {
				state = "waiting"
			}
			all = append(all, fate{r.Address, state, r.Error, r.Lane})
		}
		return all
	}
	place := make(map[string]int)
	for _, f := range s.Facts {
		v := visitOf(f.Fact)
		if v.Copy != "" {
			continue
		}
		for _, r := range f.Recipients {
			i, known := place[r]
			if !known {
				i, place[r] = len(all), len(all)
				all = append(all, fate{Address: r, State: "waiting"})
			}
			if f.What.Final() || f.What == journal.Deferred {
				all[i] = fate{r, string(f.What), gist(f.Fact), v.Lane}
			}
		}
	}
	return all
}
