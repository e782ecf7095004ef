package httpconsole

import (
	"cmp"
	"slices"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
)

// nowPage is what the first page shows.
type nowPage struct {
	adminapi.Now
	Charts []chart
	Lanes  []adminapi.Lane // those with something to see, the worst first
	More   int             // lanes beside
}

// chart is a rate and its last hour.
type chart struct {
	Name, State string
	Rate        int
	Bars        []bar
	Most        int
	Sum         int
}

// bar is a minute; Height and Top are of chartHeight.
type bar struct{ X, Top, Height, Count int }

const (
	chartHeight = 40
	barWidth    = 4
)

const lanesOnNow = 12

func loadNow(v *visit) (any, error) {
	p := new(nowPage)
	if err := v.get("/msa/now", nil, &p.Now); err != nil {
		return nil, err
	}
	for _, c := range []struct {
		name, state string
		of          func(adminapi.Tally) int
	}{
		{"Accepted", "accepted", func(t adminapi.Tally) int { return t.Accepted }},
		{"Delivered", "delivered", func(t adminapi.Tally) int { return t.Delivered }},
		{"Deferred", "deferred", func(t adminapi.Tally) int { return t.Deferred }},
		{"Failed", "failed", func(t adminapi.Tally) int { return t.Failed }},
		{"Refused", "refused", func(t adminapi.Tally) int { return t.Refused }},
	} {
		p.Charts = append(p.Charts, newChart(c.name, c.state, c.of(p.LastMinute), p.Minutes, c.of))
	}
	all, err := lanes(v)
	if err != nil {
		return nil, err
	}
	p.Lanes = all[:min(len(all), lanesOnNow)]
	p.More = len(all) - len(p.Lanes)
	return p, nil
}

func newChart(name, state string, rate int, minutes []adminapi.Minute, of func(adminapi.Tally) int) chart {
	c := chart{Name: name, State: state, Rate: rate, Most: 1}
	for _, m := range minutes {
		c.Most = max(c.Most, of(m.Tally))
		c.Sum += of(m.Tally)
	}
	for i, m := range minutes {
		n := of(m.Tally)
		height := n * chartHeight / c.Most
		if n > 0 {
			height = max(height, 2)
		}
		c.Bars = append(c.Bars, bar{X: i * barWidth, Top: chartHeight - height, Height: height, Count: n})
	}
	return c
}

// lanes are all, those that somebody has to look at first.
func lanes(v *visit) ([]adminapi.Lane, error) {
	answer := new(adminapi.Lanes)
	if err := v.get("/msa/lanes", nil, answer); err != nil {
		return nil, err
	}
	rank := map[string]int{"down": 0, "paused": 1}
	rankOf := func(l *adminapi.Lane) int {
		if n, bad := rank[l.State]; bad {
			return n
		}
		return len(rank)
	}
	slices.SortStableFunc(answer.Lanes, func(a, b adminapi.Lane) int {
		return cmp.Or(cmp.Compare(rankOf(&a), rankOf(&b)), cmp.Compare(b.Waiting, a.Waiting))
	})
	return answer.Lanes, nil
}
