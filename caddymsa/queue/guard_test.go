package queue_test

import (
	"context"
	"io"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue/queuetest"
)

// brittle is a spool of which each method panics when it is called for the first time.
type brittle struct {
	*queuetest.MemSpool
	mu     sync.Mutex
	called map[string]bool
	drafts int // that were created and have not ended
}

func (b *brittle) once(method string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.called[method] {
		b.called[method] = true
		panic("a bug in " + method)
	}
}

func (b *brittle) Create(ctx context.Context) (queue.Draft, error) {
	b.once("Create")
	d, err := b.MemSpool.Create(ctx)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	b.drafts++
	b.mu.Unlock()
	return &brittleDraft{Draft: d, b: b}, nil
}

func (b *brittle) Lease(ctx context.Context, now time.Time, want queue.Want) (queue.Lease, time.Time, error) {
	b.once("Lease")
	l, next, err := b.MemSpool.Lease(ctx, now, want)
	if err != nil {
		return nil, next, err
	}
	return &brittleLease{l, b}, next, nil
}

func (b *brittle) SetLane(name string, s queue.LaneState) {
	b.once("SetLane")
	b.MemSpool.SetLane(name, s)
}

func (b *brittle) List(ctx context.Context, after string, yield func(*queue.EntryView) bool) error {
	b.once("List")
	return b.MemSpool.List(ctx, after, yield)
}

func (b *brittle) Lanes(ctx context.Context, yield func(queue.LaneInfo) bool) error {
	b.once("Lanes")
	return b.MemSpool.Lanes(ctx, yield)
}

func (b *brittle) Place(lane string) (place, nodes int) {
	b.once("Place")
	return b.MemSpool.Place(lane)
}

func (b *brittle) HearLanes() ([]queue.LaneCondition, bool) {
	b.once("HearLanes")
	return b.MemSpool.HearLanes()
}

type brittleDraft struct {
	queue.Draft
	b     *brittle
	ended bool
}

func (d *brittleDraft) end() {
	d.b.mu.Lock()
	defer d.b.mu.Unlock()
	if !d.ended {
		d.ended = true
		d.b.drafts--
	}
}

func (d *brittleDraft) Write(p []byte) (int, error) {
	d.b.once("Write")
	return d.Draft.Write(p)
}

func (d *brittleDraft) Commit(ctx context.Context, a *queue.Accept) error {
	d.b.once("Commit")
	return d.Draft.Commit(ctx, a)
}

func (d *brittleDraft) Abort() {
	d.end()
	d.b.once("Abort")
	d.Draft.Abort()
}

type brittleLease struct {
	queue.Lease
	b *brittle
}

func (l *brittleLease) Entry() *queue.Entry {
	l.b.once("Entry")
	return l.Lease.Entry()
}

func (l *brittleLease) Job() *queue.Job {
	l.b.once("Job")
	return l.Lease.Job()
}

func (l *brittleLease) Status() *queue.Status {
	l.b.once("Status")
	return l.Lease.Status()
}

func (l *brittleLease) Lost() <-chan struct{} {
	l.b.once("Lost")
	return l.Lease.Lost()
}

func (l *brittleLease) Release() {
	l.Lease.Release() // or nobody would ever have it again
	l.b.once("Release")
}

func (l *brittleLease) Open(ctx context.Context) (io.ReadSeekCloser, error) {
	l.b.once("Open")
	m, err := l.Lease.Open(ctx)
	return &brittleMessage{m, l.b}, err
}

// Record panics with each kind of record for the first time, and once when it is committed.
func (l *brittleLease) Record(ctx context.Context, r *queue.Record) error {
	l.b.once("Record")
	own := *r
	own.Messages = slices.Clone(r.Messages)
	for i := range own.Messages {
		own.Messages[i].Draft = own.Messages[i].Draft.(*brittleDraft).Draft
	}
	if len(r.Messages) > 0 {
		l.b.once("Record with messages")
	}
	err := l.Lease.Record(ctx, &own)
	for _, m := range r.Messages { // committed or aborted
		m.Draft.(*brittleDraft).end()
	}
	if len(r.Messages) > 0 {
		l.b.once("Record, when it was done")
	}
	return err
}

type brittleMessage struct {
	io.ReadSeekCloser
	b *brittle
}

func (m *brittleMessage) Read(p []byte) (int, error) {
	m.b.once("Read")
	return m.ReadSeekCloser.Read(p)
}

func (m *brittleMessage) Close() error {
	m.b.once("Close")
	return m.ReadSeekCloser.Close()
}

// A spool that panics, wherever it is, ends no process: what was asked is asked again, so that messages are
// delivered and senders told.
func TestSpoolPanics(t *testing.T) {
	bounces, s := newSink(nil), newSink(byAddress)
	run(t, bouncesTo(bounces, s), func(r *rig) {
		core, logs := observer.New(zapcore.DebugLevel)
		b := &brittle{MemSpool: r.memory(), called: make(map[string]bool)}
		r.Queue = queue.New(b, r.host, r.options(core))
		r.submit("Q1", nil, "gone@example.net", "fine@example.net")
		r.submit("Q2", nil, "gone@example.net")
		r.Start()
		r.after(time.Hour)
		r.host.set(newGeneration(bouncesTo(bounces, s))) // a sweep
		r.Wake()
		r.after(time.Hour)
		r.mustNotHave("Q1", "Q2", "BOUNCE1", "BOUNCE2", "BOUNCE3", "BOUNCE4")
		if len(s.all()) == 0 || len(bounces.all()) != 2 {
			t.Errorf("%d deliveries, %d bounces", len(s.all()), len(bounces.all()))
		}
		for _, method := range []string{"Create", "Lease", "SetLane", "Lanes", "List", "Write", "Record", "Record with messages", "Record, when it was done", "Entry", "Job", "Status", "Lost", "Release", "Open", "Read", "Close", "Abort"} {
			if !b.called[method] {
				t.Errorf("%s was not called", method)
			}
		}
		if b.drafts != 0 {
			t.Errorf("%d drafts have not ended", b.drafts)
		}
		if said := logs.FilterMessage("the spool panicked; please report this"); said.Len() != len(b.called) || said.FilterLevelExact(zap.ErrorLevel).Len() != said.Len() {
			t.Errorf("%d panics, in the log %v", len(b.called), said.All())
		}
	})
}
