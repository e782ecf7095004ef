package queue

import (
	"context"
	"fmt"

	"go.uber.org/zap"
)

// A copy is a job of its own, made with the message's others when it is accepted: of all its recipients, in a lane
// named after the copy, with a schedule of its own. It says nothing of the recipients, holds up none of their jobs and
// is told of to nobody but the operator; the message ends when its copies have ended too.

// Copier is what a Generation can be besides: it has copies made of messages.
type Copier interface {
	// Copies names those to make of a new message.
	Copies(e *Entry) []string
	// RouteCopy returns where a copy of a recipient's message goes; NoCopy when there is none of the name. The
	// Schedule is always set.
	RouteCopy(ctx context.Context, name string, e *Entry, r *Recipient) (Route, error)
}

// route asks the generation where a recipient's message goes, or the copy that the job is of.
func (a *attempt) route(r *Recipient) (Route, error) {
	if a.job.Copy == "" {
		return a.g.Route(a.ctx, a.e, r)
	}
	if c, ok := a.g.(Copier); ok {
		return c.RouteCopy(a.ctx, a.job.Copy, a.e, r)
	}
	return Route{}, NoCopy(a.job.Copy)
}

// NoCopy says that the configuration has no copy of the name, which is an ErrNoRoute: what waits for it is kept until
// its time is over.
func NoCopy(name string) error {
	return fmt.Errorf("the configuration has no copy %s: %w", name, ErrNoRoute)
}

// rerouted is the entry with the server whose routes take it. A copy is its first server's.
func (s *Status) rerouted(e *Entry, j *Job) *Entry {
	if s.Rerouted == "" || s.Rerouted == e.Server || j.Copy != "" {
		return e
	}
	c := *e
	c.Server = s.Rerouted
	return &c
}

// givenUp is what the operator gave the job's recipients up for; empty: nobody did.
func (a *attempt) givenUp() string {
	if a.job.Copy != "" {
		return ""
	}
	return a.status.GivenUp
}

// copies names the copies to make of a new message.
func (q *Queue) copies(g Generation, e *Entry) (names []string) {
	c, ok := g.(Copier)
	if !ok {
		return nil
	}
	defer func() {
		if cause := recover(); cause != nil {
			q.log.Error("what copies to make of a message cannot be told; none are made; please report this", zap.String(fieldQueueID, e.ID), zap.String(fieldPanicAt, panicAt()), zap.Any("panic", cause))
			names = nil
		}
	}()
	return c.Copies(e)
}
