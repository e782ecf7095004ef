//go:build postgres

package queue_test

import (
	"bytes"
	"context"
	"io"
	"sync"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue/queuetest"
)

// outside is a spool that lives outside of a test's bubble, in real time: within the bubble no time passes while it is asked. It
// wakes whoever waits for it itself, since all that changes comes through it.
type outside struct {
	calls  chan *question // those that are free
	open   func() (queue.OpenSpool, error)
	notify chan struct{} // of the bubble

	mu    sync.Mutex
	spool queue.OpenSpool
	fault func(op string, e *queue.Entry) error
	lost  []chan struct{} // of the leases of before Reopen
}

// question is one from within the bubble. Its channels were made outside.
type question struct {
	do     chan func(*question)
	back   chan func() // what is to be done inside; nil: it has ended
	inside chan struct{}
}

// newOutside is called outside of any bubble.
func newOutside(open func() (queue.OpenSpool, error)) *outside {
	o := &outside{calls: make(chan *question, 256), open: open}
	for range cap(o.calls) {
		c := &question{do: make(chan func(*question)), back: make(chan func()), inside: make(chan struct{})}
		go func() {
			for f := range c.do {
				f(c)
				c.back <- nil
			}
		}()
		o.calls <- c
	}
	return o
}

// end ends what newOutside began, outside of any bubble.
func (o *outside) end() {
	for range cap(o.calls) {
		close((<-o.calls).do)
	}
	if o.spool != nil {
		_ = o.spool.Close()
	}
}

// ask runs f outside, and waits for its end.
func (o *outside) ask(f func(c *question, s queue.OpenSpool)) {
	c := <-o.calls
	o.mu.Lock()
	s := o.spool
	o.mu.Unlock()
	c.do <- func(c *question) { f(c, s) }
	for inside := range c.back {
		if inside == nil {
			break
		}
		inside()
		c.inside <- struct{}{}
	}
	o.calls <- c
}

// within runs f in the bubble, where its clock is.
func (c *question) within(f func()) {
	c.back <- f
	<-c.inside
}

func (o *outside) changed() {
	select {
	case o.notify <- struct{}{}:
	default:
	}
}

func (o *outside) faulty(op string, e *queue.Entry) error {
	o.mu.Lock()
	fault := o.fault
	o.mu.Unlock()
	if fault == nil {
		return nil
	}
	return fault(op, e)
}

func (o *outside) SetFault(fault func(op string, e *queue.Entry) error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.fault = fault
}

func (o *outside) Notify() <-chan struct{} { return o.notify }

// Close is Reopen's first half.
func (o *outside) Close() (err error) {
	o.ask(func(_ *question, s queue.OpenSpool) {
		if s != nil {
			err = s.Close()
		}
	})
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, lost := range o.lost {
		close(lost)
	}
	o.lost = nil
	return err
}

func (o *outside) Reopen() {
	if err := o.Close(); err != nil {
		panic(err)
	}
	var s queue.OpenSpool
	var err error
	o.ask(func(*question, queue.OpenSpool) { s, err = o.open() })
	if err != nil {
		panic(err)
	}
	o.mu.Lock()
	o.spool = s
	o.mu.Unlock()
	o.changed()
}

func (o *outside) Submit(e *queue.Entry, message []byte, jobs ...queue.Job) error {
	return queuetest.Submit(o, e, message, jobs...)
}

type outsideDraft struct {
	queue.Draft
	o *outside
}

// plain is a context with what ctx carries, and without the bubble's clock and channels.
func plain(ctx context.Context) context.Context { return context.WithoutCancel(ctx) }

func (o *outside) Create(ctx context.Context) (queue.Draft, error) {
	if err := o.faulty("create", nil); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var d queue.Draft
	var err error
	o.ask(func(_ *question, s queue.OpenSpool) { d, err = s.Create(plain(ctx)) })
	if err != nil {
		return nil, err
	}
	return &outsideDraft{d, o}, nil
}

func (d *outsideDraft) Commit(ctx context.Context, a *queue.Accept) (err error) {
	if err := d.o.faulty("commit", a.Entry); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	d.o.ask(func(*question, queue.OpenSpool) { err = d.Draft.Commit(plain(ctx), a) })
	d.o.changed()
	return err
}

type outsideLease struct {
	queue.Lease
	o    *outside
	lost chan struct{}
}

func (l *outsideLease) Lost() <-chan struct{} { return l.lost }

// wholeMessage is a message that was read outside.
type wholeMessage struct{ *bytes.Reader }

func (wholeMessage) Close() error { return nil }

func whole(r io.ReadSeekCloser, err error) (io.ReadSeekCloser, error) {
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(r)
	_ = r.Close()
	return wholeMessage{bytes.NewReader(text)}, err
}

func (l *outsideLease) Open(ctx context.Context) (r io.ReadSeekCloser, err error) {
	if err := l.o.faulty("open", l.Entry()); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	l.o.ask(func(*question, queue.OpenSpool) { r, err = whole(l.Lease.Open(plain(ctx))) })
	return r, err
}

func (l *outsideLease) Record(ctx context.Context, r *queue.Record) (err error) {
	defer func() {
		for _, m := range r.Messages {
			m.Draft.Abort()
		}
	}()
	if err := l.o.faulty("record", l.Entry()); err != nil {
		return err
	}
	for _, m := range r.Messages {
		if err := l.o.faulty("commit", m.Entry); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	plainly := *r
	plainly.Messages = nil
	for _, m := range r.Messages {
		m.Draft = m.Draft.(*outsideDraft).Draft
		plainly.Messages = append(plainly.Messages, m)
	}
	l.o.ask(func(*question, queue.OpenSpool) { err = l.Lease.Record(plain(ctx), &plainly) })
	l.o.changed()
	return err
}

func (l *outsideLease) Release() {
	l.o.ask(func(*question, queue.OpenSpool) { l.Lease.Release() })
	l.o.changed()
}

func (o *outside) Lease(ctx context.Context, now time.Time, want queue.Want) (l queue.Lease, next time.Time, err error) {
	if err := o.faulty("lease", nil); err != nil {
		return nil, next, err
	}
	if err := ctx.Err(); err != nil {
		return nil, next, err
	}
	o.ask(func(_ *question, s queue.OpenSpool) { l, next, err = s.Lease(plain(ctx), now, want) })
	if err != nil {
		return nil, next, err
	}
	lost := make(chan struct{})
	o.mu.Lock()
	o.lost = append(o.lost, lost)
	o.mu.Unlock()
	return &outsideLease{l, o, lost}, next, nil
}

func (o *outside) SetLane(name string, state queue.LaneState) {
	o.ask(func(_ *question, s queue.OpenSpool) { s.SetLane(name, state) })
	o.changed()
}

func (o *outside) Get(ctx context.Context, id string) (m *queue.EntryView, err error) {
	o.ask(func(_ *question, s queue.OpenSpool) { m, err = s.Get(plain(ctx), id) })
	return m, err
}

func (o *outside) List(ctx context.Context, after string, yield func(*queue.EntryView) bool) (err error) {
	o.ask(func(c *question, s queue.OpenSpool) {
		err = s.List(plain(ctx), after, func(m *queue.EntryView) (more bool) {
			c.within(func() { more = yield(m) })
			return more
		})
	})
	return err
}

func (o *outside) Change(ctx context.Context, id string, change func(*queue.EntryView) error) (inFlight int, err error) {
	o.ask(func(c *question, s queue.OpenSpool) {
		inFlight, err = s.Change(plain(ctx), id, func(m *queue.EntryView) (err error) {
			c.within(func() { err = change(m) })
			return err
		})
	})
	o.changed()
	return inFlight, err
}

func (o *outside) Delete(ctx context.Context, id string, facts ...journal.Fact) (inFlight int, err error) {
	o.ask(func(_ *question, s queue.OpenSpool) { inFlight, err = s.Delete(plain(ctx), id, facts...) })
	o.changed()
	return inFlight, err
}

func (o *outside) Lanes(ctx context.Context, yield func(queue.LaneInfo) bool) (err error) {
	o.ask(func(c *question, s queue.OpenSpool) {
		err = s.Lanes(plain(ctx), func(i queue.LaneInfo) (more bool) {
			c.within(func() { more = yield(i) })
			return more
		})
	})
	return err
}

func (o *outside) InLane(ctx context.Context, lane, after string, limit int) (ids []string, err error) {
	o.ask(func(_ *question, s queue.OpenSpool) { ids, err = s.InLane(plain(ctx), lane, after, limit) })
	return ids, err
}

func (o *outside) Size(ctx context.Context) (messages int, octets int64, err error) {
	o.ask(func(_ *question, s queue.OpenSpool) { messages, octets, err = s.Size(plain(ctx)) })
	return messages, octets, err
}

func (o *outside) OpenMessage(ctx context.Context, id string) (r io.ReadSeekCloser, err error) {
	o.ask(func(_ *question, s queue.OpenSpool) {
		r, err = whole(s.(queue.MessageOpener).OpenMessage(plain(ctx), id))
	})
	return r, err
}

func (o *outside) Facts(ctx context.Context, q *journal.Query, yield func(*journal.Fact) bool) (err error) {
	o.ask(func(c *question, s queue.OpenSpool) {
		err = s.(journal.Reader).Facts(plain(ctx), q, func(f *journal.Fact) (more bool) {
			c.within(func() { more = yield(f) })
			return more
		})
	})
	return err
}

func (o *outside) Follow(ctx context.Context, after journal.Position, limit int) (facts []journal.Fact, err error) {
	o.ask(func(_ *question, s queue.OpenSpool) { facts, err = s.(journal.Reader).Follow(plain(ctx), after, limit) })
	return facts, err
}

func (o *outside) Note(facts ...journal.Fact) {
	o.ask(func(_ *question, s queue.OpenSpool) { s.(journal.Journal).Note(facts...) })
}

func (o *outside) Cursor(ctx context.Context, name string) (p journal.Position, err error) {
	o.ask(func(_ *question, s queue.OpenSpool) { p, err = s.(journal.Journal).Cursor(plain(ctx), name) })
	return p, err
}

func (o *outside) SetCursor(ctx context.Context, name string, p journal.Position) (err error) {
	o.ask(func(_ *question, s queue.OpenSpool) { err = s.(journal.Journal).SetCursor(plain(ctx), name, p) })
	return err
}

func (o *outside) DropCursor(ctx context.Context, name string) (err error) {
	o.ask(func(_ *question, s queue.OpenSpool) { err = s.(journal.Journal).DropCursor(plain(ctx), name) })
	return err
}

func (o *outside) SetLimits(l journal.Limits) {
	o.ask(func(_ *question, s queue.OpenSpool) { s.(journal.Journal).SetLimits(l) })
}

func (o *outside) Purge(ctx context.Context, address string) (n int, err error) {
	o.ask(func(_ *question, s queue.OpenSpool) { n, err = s.(journal.Journal).Purge(plain(ctx), address) })
	return n, err
}

func (o *outside) Stat(ctx context.Context) (stat journal.Stat, err error) {
	o.ask(func(_ *question, s queue.OpenSpool) { stat, err = s.(journal.Journal).Stat(plain(ctx)) })
	return stat, err
}
