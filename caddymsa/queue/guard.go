package queue

import (
	"context"
	"fmt"
	"io"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
)

// Guard returns the spool for goroutines whose panic would end the process: a panic in it is an error like
// others, and in the log. What a spool can be besides is not passed on.
func Guard(spool Spool, log *zap.Logger) Spool { return &guardedSpool{spool, log} }

type guardedSpool struct {
	Spool
	log *zap.Logger
}

// caught makes an error of a panic in what is deferred to it.
func caught(log *zap.Logger, err *error) {
	if cause := recover(); cause != nil {
		log.Error("the spool panicked; please report this", zap.String(fieldPanicAt, panicAt()), zap.Any("panic", cause))
		*err = fmt.Errorf("%w: %v", errPanic, cause)
	}
}

// Guarded calls something else of a spool's, where a panic is an error like others, and in the log.
func Guarded(log *zap.Logger, call func() error) (err error) {
	defer caught(log, &err)
	return call()
}

func (s *guardedSpool) Create(ctx context.Context) (d Draft, err error) {
	defer caught(s.log, &err)
	if d, err = s.Spool.Create(ctx); err != nil {
		return nil, err
	}
	return &guardedDraft{d, s.log}, nil
}

func (s *guardedSpool) Lease(ctx context.Context, now time.Time, want Want) (l Lease, next time.Time, err error) {
	defer caught(s.log, &err)
	if l, next, err = s.Spool.Lease(ctx, now, want); err != nil {
		return nil, next, err
	}
	l, err = guardLease(l, s.log)
	return l, next, err
}

func (s *guardedSpool) SetLane(name string, state LaneState) {
	var unsaid error
	defer caught(s.log, &unsaid)
	s.Spool.SetLane(name, state)
}

func (s *guardedSpool) Get(ctx context.Context, id string) (m *EntryView, err error) {
	defer caught(s.log, &err)
	return s.Spool.Get(ctx, id)
}

func (s *guardedSpool) List(ctx context.Context, after string, yield func(*EntryView) bool) (err error) {
	defer caught(s.log, &err)
	return s.Spool.List(ctx, after, yield)
}

func (s *guardedSpool) Change(ctx context.Context, id string, change func(*EntryView) error) (inFlight int, err error) {
	defer caught(s.log, &err)
	return s.Spool.Change(ctx, id, change)
}

func (s *guardedSpool) Delete(ctx context.Context, id string, facts ...journal.Fact) (inFlight int, err error) {
	defer caught(s.log, &err)
	return s.Spool.Delete(ctx, id, facts...)
}

func (s *guardedSpool) Lanes(ctx context.Context, yield func(LaneInfo) bool) (err error) {
	defer caught(s.log, &err)
	return s.Spool.Lanes(ctx, yield)
}

func (s *guardedSpool) InLane(ctx context.Context, lane, after string, limit int) (ids []string, err error) {
	defer caught(s.log, &err)
	return s.Spool.InLane(ctx, lane, after, limit)
}

func (s *guardedSpool) Size(ctx context.Context) (messages int, octets int64, err error) {
	defer caught(s.log, &err)
	return s.Spool.Size(ctx)
}

type guardedDraft struct {
	Draft
	log *zap.Logger
}

func (d *guardedDraft) Write(p []byte) (n int, err error) {
	defer caught(d.log, &err)
	return d.Draft.Write(p)
}

func (d *guardedDraft) Reader() (r io.ReadCloser, err error) {
	defer caught(d.log, &err)
	if r, err = d.Draft.Reader(); err != nil {
		return nil, err
	}
	return GuardReader(r, d.log), nil
}

func (d *guardedDraft) Commit(ctx context.Context, a *Accept) (err error) {
	defer caught(d.log, &err)
	return d.Draft.Commit(ctx, a)
}

func (d *guardedDraft) Abort() {
	var unsaid error
	defer caught(d.log, &unsaid)
	d.Draft.Abort()
}

// guardedSharer has no part in a lane of which the spool cannot say the place.
type guardedSharer struct {
	LaneSharer
	log *zap.Logger
}

func (s *guardedSharer) Place(lane string) (place, nodes int) {
	var unsaid error
	defer caught(s.log, &unsaid)
	return s.LaneSharer.Place(lane)
}

func (s *guardedSharer) TellLane(c LaneCondition) {
	var unsaid error
	defer caught(s.log, &unsaid)
	s.LaneSharer.TellLane(c)
}

func (s *guardedSharer) HearLanes() (conditions []LaneCondition, moved bool) {
	var unsaid error
	defer caught(s.log, &unsaid)
	return s.LaneSharer.HearLanes()
}
