package queuetest_test

import (
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue/queuetest"
)

func TestMemSpool(t *testing.T) {
	t.Parallel()
	spools := make(map[string]*queuetest.MemSpool)
	msatest.Spool(t, func(_ testing.TB, dir string) queue.OpenSpool {
		if s := spools[dir]; s != nil {
			s.Reopen()
			return s
		}
		spools[dir] = queuetest.NewMemSpool()
		return spools[dir]
	})
}

func TestMemSpoolShared(t *testing.T) {
	t.Parallel()
	msatest.Shared(t, func(testing.TB) msatest.SharedSpool {
		first := queuetest.NewMemSpool()
		return msatest.SharedSpool{
			Node: func() queue.OpenSpool { return first.Node() },
			Cut:  func(n queue.OpenSpool) { n.(*queuetest.MemSpool).Cut() },
			Heal: func(n queue.OpenSpool) { n.(*queuetest.MemSpool).Heal() },
		}
	})
}

func TestMemSpoolQueue(t *testing.T) {
	t.Parallel()
	queuetest.Queue(t, func(t testing.TB) func() queue.OpenSpool {
		t.(*testing.T).Parallel() // they share nothing, and wait for the most part
		first := queuetest.NewMemSpool()
		return func() queue.OpenSpool { return first.Node() }
	})
}
