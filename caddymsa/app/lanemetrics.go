package app

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

var (
	queueOldest  = spoolDesc("queue_oldest_seconds", "Age of the oldest message that waits or is being delivered, held ones and dead letters excepted; 0 if there is none.")
	laneWaiting  = spoolDesc("queue_waiting", "Jobs that wait, by the route of their lanes.", "route")
	lanesByState = spoolDesc("queue_lanes", "Lanes that have jobs or are not up, by state: up, down or paused.", "state")

	laneUp     = spoolDesc("lane_up", "1 while a lane is up, and 0 while it is down or paused; of as many lanes as the setting lane_series says.", "lane")
	laneJobs   = spoolDesc("lane_jobs", "Jobs of a lane, by state: waiting or running.", "lane", "state")
	laneOldest = spoolDesc("lane_oldest_seconds", "Age of the oldest message with a job in a lane; 0 if there is none.", "lane")
)

// lanes measures the lanes by route, since their destinations are as many as there are domains, and a bounded
// number of them one by one.
func (s *store) lanes(ctx context.Context, g *gauges) {
	lanes, err := s.queue.Lanes(ctx)
	if err != nil {
		return
	}
	var oldest time.Time
	waiting, states := make(map[string]int), map[string]int{queue.LaneUp: 0, queue.LaneDown: 0, queue.LanePaused: 0}
	for i := range lanes {
		l := &lanes[i]
		route, _, _ := strings.Cut(l.Name, "/")
		waiting[route] += l.Waiting
		states[l.State]++
		if !l.Oldest.IsZero() && (oldest.IsZero() || l.Oldest.Before(oldest)) {
			oldest = l.Oldest
		}
	}
	g.set(queueOldest, age(oldest))
	for route, n := range waiting {
		g.set(laneWaiting, float64(n), route)
	}
	for state, n := range states {
		g.set(lanesByState, float64(n), state)
	}
	for _, l := range foremost(lanes, s.laneSeries()) {
		up := 0.0
		if l.State == queue.LaneUp {
			up = 1
		}
		g.set(laneUp, up, l.Name)
		g.set(laneJobs, float64(l.Waiting), l.Name, "waiting")
		g.set(laneJobs, float64(l.Running), l.Name, "running")
		g.set(laneOldest, age(l.Oldest), l.Name)
	}
}

// laneSeries is for how many lanes there are metrics of their own.
func (s *store) laneSeries() int {
	if d := s.generations.top(); d != nil {
		return max(0, d.app.Queue.LaneSeries)
	}
	return 0
}

// foremost are the lanes that an operator asks about first: those that are not up, then those with the most that waits.
// A lane without a name has what has no route yet.
func foremost(lanes []queue.Lane, n int) []queue.Lane {
	lanes = slices.DeleteFunc(lanes, func(l queue.Lane) bool { return l.Name == "" })
	if len(lanes) <= n {
		return lanes
	}
	slices.SortFunc(lanes, func(a, b queue.Lane) int {
		if upA, upB := a.State == queue.LaneUp, b.State == queue.LaneUp; upA != upB {
			if upB {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(b.Waiting, a.Waiting), cmp.Compare(b.Running, a.Running), cmp.Compare(a.Name, b.Name))
	})
	return lanes[:n]
}
