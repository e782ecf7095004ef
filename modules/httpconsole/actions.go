package httpconsole

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
)

// verb is an action on messages.
type verb struct {
	Name, Done string
	Warning    string // asked about before it is done; empty: it is done at once
}

var verbs = []verb{
	{"hold", "held", ""},
	{"release", "released", ""},
	{"retry", "tried again", ""},
	{"reroute", "rerouted", ""},
	{"bounce", "bounced", "What was not delivered yet is given up, and the sender is told, with your reason."},
	{"delete", "deleted", "What was not delivered yet is gone for good, and nobody is told."},
}

// question is asked before something is done that cannot be undone, or that is done with many.
type question struct {
	verb
	Count  int
	All    bool // that a search finds, up to Until
	Q      string
	Until  string
	IDs    []string
	Reason string
	Server string
	Grew   bool // they are more than they were said to be
}

// idsAtOnce is how many the admin API takes.
const idsAtOnce = 1000

// maxAll is how many messages are acted on at once.
const maxAll = 200_000

// actOnMessages does what the form of a page asks for with the messages that it names, or asks first.
func actOnMessages(v *visit) error {
	form := v.r.PostForm
	i := slices.IndexFunc(verbs, func(known verb) bool { return known.Name == form.Get("do") })
	if i < 0 {
		return caddyhttp.Error(http.StatusBadRequest, errors.New("choose what is to be done"))
	}
	q := &question{verb: verbs[i], IDs: form["id"], Reason: strings.TrimSpace(form.Get("reason")), Server: form.Get("server"),
		All: form.Get("all") != "", Q: form.Get("q"), Until: form.Get("until")}
	if q.All {
		if err := q.collect(v); err != nil {
			return err
		}
	}
	q.Count = len(q.IDs)
	switch {
	case q.Count == 0:
		return caddyhttp.Error(http.StatusBadRequest, errors.New("choose messages first"))
	case q.Name == "reroute" && q.Server == "":
		return caddyhttp.Error(http.StatusBadRequest, errors.New("choose the server whose routes take it"))
	}
	if q.Warning != "" || q.All {
		expected, err := strconv.Atoi(form.Get("sure"))
		if q.Grew = err == nil && expected < q.Count; err != nil || q.Grew {
			v.Ask = q
			return nil
		}
	}
	return q.do(v)
}

// collect finds the messages of a search. Until it was asked nothing that came since is among them.
func (q *question) collect(v *visit) error {
	s := parseSearch(q.Q)
	if s.problem != "" || s.queue == nil {
		return caddyhttp.Error(http.StatusBadRequest, errors.New("the search is not of messages in the queue"))
	}
	s.queue.Set("limit", strconv.Itoa(idsAtOnce))
	q.IDs = nil
	for {
		page := new(adminapi.QueuePage)
		if err := v.get("/msa/queue", s.queue, page); err != nil {
			return err
		}
		for _, e := range page.Entries {
			if q.Until != "" && e.ID > q.Until {
				return nil
			}
			q.IDs = append(q.IDs, e.ID)
		}
		switch {
		case len(q.IDs) > maxAll:
			return caddyhttp.Error(http.StatusBadRequest, fmt.Errorf("there are more than %d; narrow the search", maxAll))
		case page.Next == "":
			if q.Until == "" && len(q.IDs) > 0 {
				q.Until = q.IDs[len(q.IDs)-1]
			}
			return nil
		}
		s.queue.Set("after", page.Next)
	}
}

// maxFailures is how many are named.
const maxFailures = 20

func (q *question) do(v *visit) error {
	done, inFlight, failed := 0, 0, make(map[string]string)
	for ids := range slices.Chunk(q.IDs, idsAtOnce) {
		answer := new(adminapi.QueueActionAnswer)
		if err := v.post("/msa/queue-actions/"+url.PathEscape(q.Name), &adminapi.QueueAction{IDs: ids, Reason: q.Reason, Server: q.Server}, answer); err != nil {
			if done > 0 {
				err = fmt.Errorf("%s with %s; then: %s", q.Done, plural(done, "message"), said(err))
			}
			return err
		}
		done += len(answer.Done)
		inFlight += len(answer.InFlight)
		maps.Copy(failed, answer.Failed)
	}
	n := &notice{Bad: done == 0, Text: fmt.Sprintf("%s %s.", plural(done, "message"), q.Done)}
	if inFlight > 0 {
		n.Lines = append(n.Lines, fmt.Sprintf("%s being delivered at that moment: an attempt that succeeds counts.", areOrIs(inFlight)))
	}
	ids := slices.Sorted(maps.Keys(failed))
	for _, id := range ids[:min(len(ids), maxFailures)] {
		n.Lines = append(n.Lines, id+": "+failed[id])
	}
	if more := len(ids) - maxFailures; more > 0 {
		n.Lines = append(n.Lines, fmt.Sprintf("and %d more.", more))
	}
	if len(failed) > 0 {
		n.Bad = true
		n.Text += fmt.Sprintf(" It could not be done with %d.", len(failed))
	}
	v.Notice = n
	return nil
}

func areOrIs(n int) string {
	if n == 1 {
		return "1 is"
	}
	return fmt.Sprintf("%d are", n)
}
