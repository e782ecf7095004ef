package httpconsole

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
)

// guessesPage is who was refused lately, and who is blocked.
type guessesPage struct {
	Blocks []adminapi.Block
	Sums   []sums
	Rows   []adminapi.Refusals
	All    int
	pager
}

// sums are refusals by one thing.
type sums struct {
	By   string
	Rows []sumRow
	More int
}

type sumRow struct {
	Name  string
	Count int
	Last  time.Time
}

// sumRows is how many a summary has.
const sumRows = 10

func loadGuesses(v *visit) (any, error) {
	answer := new(adminapi.Guesses)
	if err := v.get("/msa/guesses", nil, answer); err != nil {
		return nil, err
	}
	rows := answer.Refusals
	for word := range strings.FieldsSeq(strings.ToLower(v.Query.Get("q"))) {
		rows = slices.DeleteFunc(rows, func(r adminapi.Refusals) bool {
			return !strings.Contains(strings.ToLower(strings.Join([]string{r.Server, r.Network, r.IP, r.User, r.Moment, r.Rule, r.Helo, r.Reply, r.Cause}, " ")), word)
		})
	}
	p := &guessesPage{Blocks: answer.Blocks, All: len(rows), pager: paged(v, len(rows))}
	p.Sums = []sums{
		summed("network", rows, func(r *adminapi.Refusals) string { return cmp.Or(r.Network, "local sockets") }),
		summed("user", rows, func(r *adminapi.Refusals) string { return cmp.Or(r.User, "–") }),
		summed("rule", rows, func(r *adminapi.Refusals) string { return strings.TrimSpace(r.Moment + " " + r.Rule) }),
	}
	p.Rows = rows[p.First:p.Last]
	return p, nil
}

func summed(by string, rows []adminapi.Refusals, name func(*adminapi.Refusals) string) sums {
	place := make(map[string]int)
	s := sums{By: by}
	for i := range rows {
		r := &rows[i]
		n := name(r)
		at, known := place[n]
		if !known {
			at, place[n] = len(s.Rows), len(s.Rows)
			s.Rows = append(s.Rows, sumRow{Name: n})
		}
		s.Rows[at].Count += r.Count
		if r.Last.After(s.Rows[at].Last) {
			s.Rows[at].Last = r.Last
		}
	}
	slices.SortStableFunc(s.Rows, func(a, b sumRow) int { return b.Count - a.Count })
	if len(s.Rows) > sumRows {
		s.Rows, s.More = s.Rows[:sumRows], len(s.Rows)-sumRows
	}
	return s
}

// liftBlock lifts the one that the button names: "lift <server> <network>".
func liftBlock(v *visit) error {
	words := strings.Fields(v.r.PostForm.Get("do"))
	if len(words) != 3 || words[0] != "lift" {
		return caddyhttp.Error(http.StatusBadRequest, errors.New("there is no such action on blocks"))
	}
	answer := new(adminapi.BlocksLifted)
	request := &adminapi.BlockLift{Server: fromExact(words[1]), Network: fromExact(words[2]), Reason: strings.TrimSpace(v.r.PostForm.Get("reason"))}
	if err := v.post("/msa/guess-actions/lift", request, answer); err != nil {
		return err
	}
	v.Notice = &notice{Text: fmt.Sprintf("%s of %s lifted.", plural(answer.Lifted, "block"), request.Network), Bad: answer.Lifted == 0}
	return nil
}
