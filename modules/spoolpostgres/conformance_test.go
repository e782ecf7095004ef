//go:build linux

package spoolpostgres

import (
	"context"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/postgres"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue/queuetest"
)

// bearable is a timeout for tests that wait until it is over: short, and yet one within which a busy machine does what the database is there for.
const bearable = 10 * time.Second

func open(t testing.TB, o Options) *Store {
	t.Helper()
	s, err := Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestConformance(t *testing.T) {
	t.Parallel()
	srv := postgres.Shared(t)
	schemas := make(map[string]string)
	msatest.Spool(t, func(t testing.TB, dir string) queue.OpenSpool {
		if schemas[dir] == "" {
			schemas[dir] = fmt.Sprintf("s%d %s", len(schemas), filepath.Base(dir))
		}
		return open(t, Options{DSN: srv.DSN(), Schema: schemas[dir], Node: "one", keepEvery: 50 * time.Millisecond})
	})
}

func TestShared(t *testing.T) {
	t.Parallel()
	srv := postgres.Shared(t)
	var schemas atomic.Int32
	msatest.Shared(t, func(t testing.TB) msatest.SharedSpool {
		schema := fmt.Sprint("shared", schemas.Add(1))
		proxies := make(map[queue.OpenSpool]*proxy)
		return msatest.SharedSpool{
			Node: func() queue.OpenSpool {
				p := newProxy(t, srv)
				s := open(t, Options{DSN: p.dsn(), Schema: schema, Node: fmt.Sprint("node", len(proxies)), Lease: 6 * time.Second, Log: zaptest.NewLogger(t)})
				proxies[s] = p
				return s
			},
			Cut: func(n queue.OpenSpool) {
				s := n.(*Store)
				owner := s.owner.Load()
				proxies[n].set(true)
				for srv.Exec(t, "SELECT 1 FROM "+schema+".msa_node WHERE id = $1", owner) > 0 {
					time.Sleep(100 * time.Millisecond)
				}
			},
			Heal: func(n queue.OpenSpool) { proxies[n].set(false) },
		}
	})
}

var halfOfQueue halves

// The queue's tests in real time, on three nodes where they need them.
func TestQueue(t *testing.T) {
	t.Parallel()
	srv := postgres.Shared(t)
	var schemas, nodes atomic.Int32
	part := halfOfQueue.begin()
	queuetest.Queue(t, func(t testing.TB) func() queue.OpenSpool {
		part(t)
		schema := fmt.Sprint("queue", schemas.Add(1))
		return func() queue.OpenSpool {
			return open(t, Options{DSN: srv.DSN(), Schema: schema, Node: fmt.Sprint("node", nodes.Add(1)), Lease: time.Minute})
		}
	})
}
