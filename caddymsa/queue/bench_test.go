package queue_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue/queuetest"
)

// discard is the quickest sink.
type discard struct{ wg *sync.WaitGroup }

func (d discard) Deliver(context.Context, *queue.Delivery) error {
	d.wg.Done()
	return nil
}

// BenchmarkDeliver is what the queue itself costs a message, its log line
// included: the spool is memory, the sink does nothing.
func BenchmarkDeliver(b *testing.B) {
	for _, rcpts := range []int{1, 100} {
		b.Run(fmt.Sprintf("%d recipients", rcpts), func(b *testing.B) {
			spool := queuetest.NewMemSpool()
			var wg sync.WaitGroup
			wg.Add(b.N)
			h := new(host)
			h.set(newGeneration(to(discard{&wg})))
			log := zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), nowhere{}, zap.InfoLevel))
			q := queue.New(spool, h, queue.Options{Logger: log})
			began := time.Now()
			for i := range b.N {
				e := &queue.Entry{ID: fmt.Sprintf("Q%08d", i), Accepted: began, Sender: "alice@example.org"}
				for r := range rcpts {
					e.Recipients = append(e.Recipients, queue.Recipient{Address: fmt.Sprintf("bob%d@example.net", r)})
				}
				if err := spool.Submit(e, []byte(letter)); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			b.ResetTimer()
			q.Start()
			wg.Wait()
			b.StopTimer()
			q.Stop(context.Background())
		})
	}
}

type nowhere struct{}

func (nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (nowhere) Sync() error                 { return nil }

// BenchmarkJobs is what a recipient costs when a message is sorted into jobs: each recipient has a lane of
// its own, and one of a hundred costs what one of ten thousand does.
func BenchmarkJobs(b *testing.B) {
	for _, n := range []int{100, 1000, 10000} {
		b.Run(fmt.Sprintf("%d lanes", n), func(b *testing.B) {
			sink := discard{new(sync.WaitGroup)}
			g := newGeneration(func(_ *queue.Entry, r *queue.Recipient) (queue.Sink, string, error) { return sink, r.Address, nil })
			q := queue.New(queuetest.NewMemSpool(), new(host), queue.Options{})
			e := &queue.Entry{ID: "Q1", Accepted: time.Now(), Sender: "alice@example.org"}
			for r := range n {
				e.Recipients = append(e.Recipients, queue.Recipient{Address: fmt.Sprintf("bob@d%d.example", r)})
			}
			b.ReportAllocs()
			for b.Loop() {
				if jobs := q.Jobs(context.Background(), g, e); len(jobs) != n {
					b.Fatalf("%d jobs", len(jobs))
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/recipient")
		})
	}
}
