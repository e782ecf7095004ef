package queue

import (
	"context"
	"io"
	"slices"

	"go.uber.org/zap"
)

// guardedLease asks the lease once what it says without an error.
type guardedLease struct {
	Lease
	entry  *Entry
	job    *Job
	status *Status
	lost   <-chan struct{}
	log    *zap.Logger
}

func guardLease(l Lease, log *zap.Logger) (Lease, error) {
	g := &guardedLease{Lease: l, log: log}
	err := Guarded(log, func() error {
		g.entry, g.job, g.status, g.lost = l.Entry(), l.Job(), l.Status(), l.Lost()
		return nil
	})
	if err != nil {
		g.Release() // somebody else may have it
		return nil, err
	}
	return g, nil
}

func (l *guardedLease) Entry() *Entry         { return l.entry }
func (l *guardedLease) Job() *Job             { return l.job }
func (l *guardedLease) Status() *Status       { return l.status }
func (l *guardedLease) Lost() <-chan struct{} { return l.lost }

func (l *guardedLease) Open(ctx context.Context) (m io.ReadSeekCloser, err error) {
	defer caught(l.log, &err)
	if m, err = l.Lease.Open(ctx); err != nil {
		return nil, err
	}
	return &guardedMessage{guardedReader{m, l.log}, m}, nil
}

// Record aborts the drafts itself where the spool, which has to, panicked: those that were committed take no
// notice.
func (l *guardedLease) Record(ctx context.Context, r *Record) error {
	own := *r // the spool wants its own drafts
	own.Messages = slices.Clone(r.Messages)
	for i := range own.Messages {
		if d, ok := own.Messages[i].Draft.(*guardedDraft); ok {
			own.Messages[i].Draft = d.Draft
		}
	}
	returned := false
	err := Guarded(l.log, func() error {
		err := l.Lease.Record(ctx, &own)
		returned = true
		return err
	})
	if !returned {
		for _, m := range r.Messages {
			m.Draft.Abort()
		}
	}
	return err
}

func (l *guardedLease) Release() {
	var unsaid error
	defer caught(l.log, &unsaid)
	l.Lease.Release()
}

// GuardReader returns what a spool gave to read a message, for goroutines whose panic would end the process.
func GuardReader(r io.ReadCloser, log *zap.Logger) io.ReadCloser { return &guardedReader{r, log} }

type guardedReader struct {
	r   io.ReadCloser
	log *zap.Logger
}

func (g *guardedReader) Read(p []byte) (n int, err error) {
	defer caught(g.log, &err)
	return g.r.Read(p)
}

func (g *guardedReader) Close() (err error) {
	defer caught(g.log, &err)
	return g.r.Close()
}

type guardedMessage struct {
	guardedReader
	seeker io.Seeker
}

func (g *guardedMessage) Seek(offset int64, whence int) (at int64, err error) {
	defer caught(g.log, &err)
	return g.seeker.Seek(offset, whence)
}
