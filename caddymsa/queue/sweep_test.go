package queue_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue/queuetest"
)

// stamper knows the stamps of its jobs, and counts how often it is asked for all messages.
type stamper struct {
	*queuetest.MemSpool
	stamps []string
	lists  atomic.Int32
}

func (s *stamper) Stamps() []string { return s.stamps }

func (s *stamper) List(ctx context.Context, after string, yield func(*queue.EntryView) bool) error {
	s.lists.Add(1)
	return s.MemSpool.List(ctx, after, yield)
}

// A start looks at the messages that wait only if one of them may have been routed by other routes.
func TestSweepIsSpared(t *testing.T) {
	for _, tt := range []struct {
		name   string
		stamps []string
		looks  bool
	}{
		{"none", nil, false},
		{"the same routes", []string{"000009-same"}, false},
		{"others too", []string{"000009-same", "000008-other"}, true},
		{"not known", []string{""}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				spool := &stamper{MemSpool: queuetest.NewMemSpool(), stamps: tt.stamps}
				g := newGeneration(to(newSink(nil)))
				g.stamp = "000010-same"
				h := new(host)
				h.set(g)
				q := queue.New(spool, h, queue.Options{})
				q.Start()
				time.Sleep(time.Minute)
				q.Stop(t.Context())
				if looked := spool.lists.Load() > 0; looked != tt.looks {
					t.Errorf("looked: %v, wanted %v", looked, tt.looks)
				}
			})
		})
	}
}
