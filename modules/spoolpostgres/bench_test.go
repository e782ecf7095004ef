//go:build linux

package spoolpostgres

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/postgres"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// fill puts messages into the spool, by statements that are quicker than accepting them: of so many users, in so many
// lanes, all due.
func fill(b testing.TB, srv *postgres.Database, messages, lanes, users int) {
	b.Helper()
	a := accept("ID")
	entry, err := json.Marshal(a.Entry)
	if err != nil {
		b.Fatal(err)
	}
	j := queue.NewJob(a.Entry)
	j.Number = 1
	job, err := json.Marshal(&j)
	if err != nil {
		b.Fatal(err)
	}
	srv.Exec(b, `INSERT INTO msa.msa_entry (id, entry, next, octets)
		SELECT 'B' || lpad(i::text, 9, '0'), convert_to(replace($1::text, '"ID"', '"B' || lpad(i::text, 9, '0') || '"'), 'UTF8'), 2, 4096 FROM generate_series(1, $2::int) i`, string(entry), messages)
	srv.Exec(b, `INSERT INTO msa.msa_job (key, number, job) SELECT key, 1, convert_to(replace($1::text, '"recipients"', '"lane":"lane' || key % $2::int || '","recipients"'), 'UTF8') FROM msa.msa_entry`, string(job), lanes)
	srv.Exec(b, `INSERT INTO msa.msa_due (key, number, id, usr, rank, lane, due, deadline, accepted, held)
		SELECT key, 1, id, 'user' || key / $1::int % $2::int, 0, 'lane' || key % $1::int, 0, $3::bigint, 0, false FROM msa.msa_entry`, lanes, users, int64(never))
	srv.Exec(b, "INSERT INTO msa.msa_sum VALUES ($1, $2)", messages, messages*4096)
	srv.Exec(b, "VACUUM ANALYZE")
	srv.Exec(b, "CHECKPOINT") // what was written is not to be synced while others are measured
}

func number(name string, or int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return or
}

// BenchmarkLarge is a queue of MSA_BENCH_MESSAGES (100,000; 1,000,000 is what counts) in 1,000 lanes, 900 of them
// down: how long it takes to claim 32 jobs, and to list a page.
func BenchmarkLarge(b *testing.B) {
	messages, lanes := number("MSA_BENCH_MESSAGES", 100_000), number("MSA_BENCH_LANES", 1000)
	srv := postgres.Start(b)
	s := open(b, Options{DSN: srv.DSN(), Node: "one"})
	defer s.Close()
	began := time.Now()
	fill(b, &srv.Database, messages, lanes, number("MSA_BENCH_USERS", 50))
	b.Logf("filled in %v", time.Since(began).Round(time.Second))
	for i := range lanes {
		state := queue.LaneState{Limit: 20, Proven: true}
		if i%10 != 0 {
			state.Limit = 0
		}
		s.SetLane(fmt.Sprint("lane", i), state)
	}
	ctx := context.Background()
	for b.Loop() { // what is measured is not one number
	}
	measure := func(name string, n int, f func() error) {
		var all []time.Duration
		for range n {
			began := time.Now()
			if err := f(); err != nil {
				b.Fatal(err)
			}
			all = append(all, time.Since(began))
		}
		slices.Sort(all)
		b.ReportMetric(float64(all[n/2].Microseconds())/1000, name+"-p50-ms")
		b.ReportMetric(float64(all[n*99/100].Microseconds())/1000, name+"-p99-ms")
	}
	t, short := &s.turns, 0
	measure("claim", number("MSA_BENCH_CLAIMS", 200), func() error {
		t.mu.Lock()
		defer t.mu.Unlock()
		before := len(t.claimed)
		for scans := 0; len(t.claimed) == before && scans < quick; scans++ { // as Lease does
			due, _, err := t.scan(ctx, s, time.Now(), queue.Want{}, false)
			if err != nil {
				return err
			}
			if err := t.claim(ctx, s, t.choose(s, due, time.Now(), queue.Want{})); err != nil {
				return err
			}
		}
		if n := len(t.claimed) - before; n != batch {
			short++
		}
		return nil
	})
	b.ReportMetric(float64(short), "short")
	measure("page", 100, func() error {
		n := 0
		return s.List(ctx, fmt.Sprintf("B%09d", messages/2), func(*queue.EntryView) bool { n++; return n < 100 })
	})
	measure("lanes", 5, func() error { return s.Lanes(ctx, func(queue.LaneInfo) bool { return true }) })
	measure("size", 20, func() error { _, _, err := s.Size(ctx); return err })
}

// BenchmarkBody is a message of 50 MiB, accepted and read.
func BenchmarkBody(b *testing.B) {
	srv := postgres.Start(b)
	s := open(b, Options{DSN: srv.DSN(), Node: "one"})
	defer s.Close()
	piece := make([]byte, 64<<10)
	n := 0
	for b.Loop() {
		n++
		d, err := s.Create(context.Background())
		if err != nil {
			b.Fatal(err)
		}
		for range 50 << 20 / len(piece) {
			if _, err := d.Write(piece); err != nil {
				b.Fatal(err)
			}
		}
		began := time.Now()
		if err := d.Commit(context.Background(), accept(fmt.Sprint("B", n))); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(time.Since(began).Milliseconds()), "commit-ms")
		began = time.Now()
		m, err := s.OpenMessage(context.Background(), fmt.Sprint("B", n))
		if err != nil {
			b.Fatal(err)
		}
		if octets, err := io.Copy(io.Discard, m); octets != 50<<20 || err != nil {
			b.Fatal(octets, err)
		}
		b.ReportMetric(float64(time.Since(began).Milliseconds()), "read-ms")
	}
}

// BenchmarkDeadRows is messages accepted and delivered as fast as can be for MSA_BENCH_SECONDS (600 is what counts): what
// is left of them in the tables.
func BenchmarkDeadRows(b *testing.B) {
	srv := postgres.Start(b)
	s := open(b, Options{DSN: srv.DSN(), Node: "one"})
	defer s.Close()
	for b.Loop() { // what is measured is not one number
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(number("MSA_BENCH_SECONDS", 60))*time.Second)
	defer cancel()
	var in, out atomic.Int64
	look := 0
	var group sync.WaitGroup
	for c := range 8 {
		group.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				if in.Load()-out.Load() > 2000 {
					time.Sleep(time.Millisecond)
				} else if submit(s, fmt.Sprintf("%dx%08d", c, i)) == nil {
					in.Add(1)
				}
			}
		})
		group.Go(func() {
			for ctx.Err() == nil {
				l, _, err := s.Lease(ctx, time.Now(), queue.Want{})
				if err != nil {
					time.Sleep(time.Millisecond)
					continue
				}
				j := l.Job().Clone()
				j.Recipients[0].State = queue.Delivered
				if l.Record(context.Background(), &queue.Record{At: time.Now(), Jobs: []queue.Job{*j}}) == nil {
					out.Add(1)
				}
			}
		})
	}
	group.Go(func() {
		for ctx.Err() == nil {
			time.Sleep(10 * time.Second)
			c, err := pgx.Connect(context.Background(), srv.DSN())
			if err != nil {
				continue
			}
			var text string
			_ = c.QueryRow(context.Background(), `SELECT string_agg(relname || ' ' || n_dead_tup || ' dead, ' || pg_size_pretty(pg_total_relation_size(relid)), '; ' ORDER BY relname)
				FROM pg_stat_user_tables WHERE relname IN ('msa_entry', 'msa_body', 'msa_job', 'msa_due', 'msa_sum')`).Scan(&text)
			_ = c.Close(context.Background())
			if look++; look%6 == 0 {
				b.Logf("%d delivered: %s", out.Load(), text)
			}
		}
	})
	group.Wait()
}
