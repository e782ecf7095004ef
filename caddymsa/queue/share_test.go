package queue_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/installed"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue/queuetest"
)

// peers are nodes that share a spool, each with a queue of its own.
type peers struct {
	*testing.T
	first *queuetest.MemSpool
	nodes []*peer

	mu    sync.Mutex
	now   map[string]int // under way, by node
	most  int
	tries []string // node and time
	began time.Time
	seq   int
}

type peer struct {
	*queue.Queue
	spool *queuetest.MemSpool
	name  string
}

func runPeers(t *testing.T, test func(*peers)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := &peers{T: t, first: queuetest.NewMemSpool(), now: make(map[string]int), began: time.Now()}
		test(p)
		for _, n := range p.nodes {
			n.kill()
		}
	})
}

// join starts another node, whose attempts at a destination do what deliver says.
func (p *peers) join(d queue.Destination, deliver func(ctx context.Context, node string, d *queue.Delivery) error) *peer {
	n := &peer{spool: p.first.Node(), name: fmt.Sprint("n", len(p.nodes))}
	h := new(host)
	g := newGeneration(to(newSink(func(ctx context.Context, delivery *queue.Delivery) error {
		p.begin(n.name)
		defer p.end(n.name)
		return deliver(ctx, n.name, delivery)
	})))
	g.destination = func(*queue.Recipient) queue.Destination { return d }
	h.set(g)
	n.Queue = queue.New(n.spool, h, queue.Options{Rand: func(int64) int64 { return 0 }})
	p.nodes = append(p.nodes, n)
	n.Start()
	p.after(time.Second)
	return n
}

func (n *peer) kill() {
	n.spool.Cut()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	n.Stop(ctx)
}

func (p *peers) begin(node string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now[node]++
	sum := 0
	for _, n := range p.now {
		sum += n
	}
	p.most = max(p.most, sum)
	p.tries = append(p.tries, fmt.Sprintf("%s %v", node, time.Since(p.began).Truncate(time.Second)))
}

func (p *peers) end(node string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now[node]--
}

func (p *peers) counts() (all []int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, n := range p.nodes {
		all = append(all, p.now[n.name])
	}
	return all
}

func (p *peers) after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (p *peers) submit(n int) { p.submitTo("test/hop", "000000-0", n) }

// submitTo submits messages that a configuration has routed.
func (p *peers) submitTo(lane, stamp string, n int) {
	p.Helper()
	for range n {
		p.seq++
		e := &queue.Entry{ID: fmt.Sprintf("Q%04d", p.seq), Server: "main", Accepted: time.Now(), Sender: "alice@example.org", ReturnPath: true, User: "alice",
			Recipients: []queue.Recipient{{Address: "bob@example.net"}}}
		if err := p.first.Submit(e, []byte(letter), queue.Job{Number: 1, Lane: lane, Stamp: stamp, Recipients: e.Recipients, Due: time.Now()}); err != nil {
			p.Fatal(err)
		}
	}
}

func slow(ctx context.Context, _ string, _ *queue.Delivery) error {
	select {
	case <-time.After(3 * time.Second):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// What a lane takes at once is divided among the nodes that live, and never more than that under
// way: not when nodes come, and not when they go.
func TestNodesDivideConcurrency(t *testing.T) {
	for _, limit := range []int{1, 2, 7, 10} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			runPeers(t, func(p *peers) {
				d := queue.Destination{Name: "hop", Concurrency: limit}
				for range 3 {
					p.join(d, slow)
				}
				p.submit(50 * limit) // more than goes in the time
				p.after(time.Minute)
				low, high := limit/3, (limit+2)/3
				sum := 0
				for i, n := range p.counts() {
					if n < low || n > high {
						t.Errorf("node %d has %d of %d", i, n, limit)
					}
					sum += n
				}
				if sum != limit || p.most > limit {
					t.Errorf("%d at once, %d at most, of %d", sum, p.most, limit)
				}
				p.join(d, slow) // while all are busy
				p.after(20 * time.Second)
				if p.most > limit {
					t.Errorf("%d at once of %d when a node came", p.most, limit)
				}
				p.nodes[0].kill()
				p.nodes[2].kill()
				p.after(20 * time.Second)
				sum = 0
				for _, n := range p.counts() {
					sum += n
				}
				if sum != limit || p.most > limit+2*high {
					t.Errorf("%d at once, %d at most, of %d when two had gone", sum, p.most, limit)
				}
			})
		})
	}
}

func TestNodesDivideRate(t *testing.T) {
	for _, r := range []queue.Rate{{Messages: 1, Per: time.Minute}, {Messages: 2, Per: time.Minute}, {Messages: installed.Rounds(100, 10), Per: time.Minute}} {
		t.Run(fmt.Sprint(r.Messages), func(t *testing.T) {
			runPeers(t, func(p *peers) {
				d := queue.Destination{Name: "hop", Rate: r}
				for range 3 {
					p.join(d, func(context.Context, string, *queue.Delivery) error { return nil })
				}
				p.submit(20*r.Messages + 50) // more than goes in the time
				p.after(10 * time.Minute)
				if n := len(p.tries); n < 9*r.Messages || n > 10*r.Messages+3 {
					t.Errorf("%d in ten minutes at %d a minute", n, r.Messages)
				}
				before := len(p.tries)
				p.nodes[1].kill()
				p.after(10 * time.Minute)
				if n := len(p.tries) - before; n < 9*r.Messages || n > 10*r.Messages+3 {
					t.Errorf("%d in ten minutes at %d a minute when a node had gone", n, r.Messages)
				}
			})
		})
	}
}

// A lane that one node finds to be down is down for all; one node at a time tries it, not always the same,
// and where that succeeds it is up for all.
func TestNodesProbeTogether(t *testing.T) {
	runPeers(t, func(p *peers) {
		var down atomic.Bool
		down.Store(true)
		deliver := func(context.Context, string, *queue.Delivery) error {
			if down.Load() {
				return refused
			}
			return nil
		}
		for range 3 {
			p.join(queue.Destination{Name: "hop"}, deliver)
		}
		p.submit(100)
		p.after(time.Hour)
		if n := len(p.tries); n < 10 || n > 30 {
			t.Errorf("%d attempts in an hour: %q", n, p.tries)
		}
		late := p.tries[len(p.tries)-6:]
		for _, n := range p.nodes {
			if n := strings.Count(strings.Join(late, " "), n.name); n != 2 {
				t.Errorf("of six probes one node made %d: %q", n, late)
			}
			lanes, err := n.Lanes(context.Background())
			if err != nil || len(lanes) != 1 || lanes[0].State != queue.LaneDown || !strings.Contains(lanes[0].Cause, "refused") {
				t.Errorf("%+v %v", lanes, err)
			}
		}
		down.Store(false)
		if err := p.nodes[1].Probe(context.Background(), "test/hop"); err != nil { // whoever's turn it is
			t.Fatal(err)
		}
		p.after(2 * time.Second)
		if n, _, _ := p.first.Size(context.Background()); n != 0 {
			t.Errorf("%d messages are left", n)
		}
	})
}

// The operator pauses a lane on any node, for nodes that come later too.
func TestNodesPauseTogether(t *testing.T) {
	runPeers(t, func(p *peers) {
		deliver := func(context.Context, string, *queue.Delivery) error {
			time.Sleep(time.Second)
			return nil
		}
		d := queue.Destination{Name: "hop"}
		one, two := p.join(d, deliver), p.join(d, deliver)
		p.submit(10)
		p.after(time.Minute)
		if err := one.Pause(context.Background(), "test/hop", "maintenance"); err != nil {
			t.Fatal(err)
		}
		p.after(time.Second)
		p.join(d, deliver)
		p.submit(10)
		p.after(time.Hour)
		if n := len(p.tries); n != 10 {
			t.Errorf("%d attempts in a paused lane", n)
		}
		if err := two.Resume(context.Background(), "test/hop"); err != nil {
			t.Fatal(err)
		}
		p.after(time.Minute)
		if n := len(p.tries); n != 20 {
			t.Errorf("%d attempts when the pause was over", n)
		}
	})
}

// A node with an older configuration never routes back what one with a newer one has routed: it leaves the lane to that.
func TestOlderConfigurationRoutesNothingBack(t *testing.T) {
	runPeers(t, func(p *peers) {
		node := func(route string, order int) (*peer, *sink) {
			n, s, h := &peer{spool: p.first.Node(), name: route}, newSink(nil), new(host)
			g := newGeneration(func(*queue.Entry, *queue.Recipient) (queue.Sink, string, error) { return s, route, nil })
			g.stamp = fmt.Sprintf("%06d-%s", order, route)
			h.set(g)
			n.Queue = queue.New(n.spool, h, queue.Options{Rand: func(int64) int64 { return 0 }})
			p.nodes = append(p.nodes, n)
			n.Start()
			p.after(time.Second)
			return n, s
		}
		young, newer := node("young", 2)
		p.submit(1) // finds its lane
		p.after(time.Second)
		if err := young.Pause(context.Background(), "young", "test"); err != nil {
			t.Fatal(err)
		}
		p.submitTo("young", "000002-young", 20)
		_, older := node("old", 1)
		if err := young.Resume(context.Background(), "young"); err != nil {
			t.Fatal(err)
		}
		p.after(5 * time.Second)
		if n, m := len(newer.all()), len(older.all()); n != 21 || m != 0 {
			t.Errorf("%d went by the newer configuration, %d by the older one", n, m)
		}
		// While nobody has that configuration, they wait for it for some time only.
		p.submitTo("younger", "000003-younger", 1)
		p.after(30 * time.Minute)
		if len(newer.all()) != 21 || len(older.all()) != 0 {
			t.Error("it was routed back")
		}
		p.after(time.Hour)
		if len(newer.all())+len(older.all()) != 22 {
			t.Error("it waits for a configuration that nobody has")
		}
	})
}
