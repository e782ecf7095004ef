//go:build linux

package spoolpostgres

import (
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/postgres"
)

// A node tells of its connections, and that it has lost touch with the database and found it again.
func TestEngine(t *testing.T) {
	t.Parallel()
	srv := postgres.Start(t)
	s := open(t, Options{DSN: srv.DSN(), Pool: 5, Lease: time.Second, Node: "one"})
	defer s.Close()
	e := s.Engine()
	if !e.Up || len(e.Pools) != 3 || e.Pools[0].Name != "durable" || e.Pools[0].Max != 5 {
		t.Errorf("%+v", e)
	}
	srv.Kill()
	await(t, "the node is out of touch", func() bool { return !s.Engine().Up })
	srv.Start()
	await(t, "it is in touch again", func() bool { return s.Engine().Up })
}
