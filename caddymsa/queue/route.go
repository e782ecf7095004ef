package queue

import "context"

// Jobs are those that a new message begins with: recipients of one lane and schedule together. A
// recipient whose lane cannot be told now is unrouted, and asked about when it is leased.
func (q *Queue) Jobs(ctx context.Context, g Generation, e *Entry) []Job {
	first := NewJob(e)
	a := &attempt{q: q, e: e, job: &first, status: new(Status), g: g, ctx: ctx}
	a.rec.At = e.Accepted
	groups := a.routeAll()
	if len(groups) == 0 {
		return []Job{first}
	}
	jobs := a.split(groups)
	for i := range jobs {
		jobs[i].Number = i + 1
	}
	return jobs
}
