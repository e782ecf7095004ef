package httpconsole

import (
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
)

// perPage is how many rows a table has.
const perPage = 100

// lanesPage is a page of lanes.
type lanesPage struct {
	Lanes []adminapi.Lane
	All   int // that match
	pager
}

// pager is where in a list that is had whole a page is.
type pager struct{ First, Last, Page, Pages int }

// paged is what of n rows the page shows that the query names.
func paged(v *visit, n int) pager {
	p := pager{Page: 1, Pages: max(1, (n+perPage-1)/perPage)}
	if asked, err := strconv.Atoi(v.Query.Get("page")); err == nil {
		p.Page = min(max(1, asked), p.Pages)
	}
	p.First = (p.Page - 1) * perPage
	p.Last = min(n, p.First+perPage)
	return p
}

func loadLanes(v *visit) (any, error) {
	all, err := lanes(v)
	if err != nil {
		return nil, err
	}
	if word := strings.ToLower(strings.TrimSpace(v.Query.Get("q"))); word != "" {
		var found []adminapi.Lane
		for _, l := range all {
			if strings.Contains(strings.ToLower(l.Name+" "+l.State+" "+l.Cause+" "+l.Answer), word) {
				found = append(found, l)
			}
		}
		all = found
	}
	p := &lanesPage{All: len(all), pager: paged(v, len(all))}
	p.Lanes = all[p.First:p.Last]
	return p, nil
}

// actOnLane pauses, resumes or probes a lane: the button is "<action> <lane>".
func actOnLane(v *visit) error {
	name, lane, _ := strings.Cut(v.r.PostForm.Get("do"), " ")
	lane = fromExact(lane)
	done := map[string]string{"pause": "paused", "resume": "taking messages again", "probe": "being tried"}[name]
	if done == "" {
		return caddyhttp.Error(http.StatusBadRequest, errors.New("there is no such action on lanes"))
	}
	err := v.post("/msa/lane-actions/"+name, &adminapi.LaneAction{Lane: lane, Reason: strings.TrimSpace(v.r.PostForm.Get("reason"))}, new(adminapi.LaneSteered))
	if err != nil {
		return err
	}
	v.Notice = &notice{Text: "Lane " + lane + " is " + done + "."}
	return nil
}
