package queue

import "context"

// Jobs are those that a new message begins with: recipients of one lane and schedule together, and then those of each
// copy. A recipient whose lane cannot be told now is unrouted, and asked about when it is leased.
func (q *Queue) Jobs(ctx context.Context, g Generation, e *Entry) []Job {
	jobs := q.routed(ctx, g, e, NewJob(e))
	for _, name := range q.copies(g, e) {
		first := NewJob(e)
		first.Copy = name
		jobs = append(jobs, q.routed(ctx, g, e, first)...)
	}
	for i := range jobs {
		jobs[i].Number = i + 1
	}
	return jobs
}

// routed are the jobs that a new message's job becomes.
func (q *Queue) routed(ctx context.Context, g Generation, e *Entry, first Job) []Job {
	a := &attempt{q: q, e: e, job: &first, status: new(Status), g: g, ctx: ctx}
	a.rec.At = e.Accepted
	groups := a.routeAll()
	if len(groups) == 0 {
		return []Job{first}
	}
	return a.split(groups)
}
