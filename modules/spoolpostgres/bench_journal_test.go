//go:build linux

package spoolpostgres

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/postgres"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// fillFacts makes two facts of each message: from users to addresses, by statements that are quicker than accepting them.
func fillFacts(b testing.TB, srv *postgres.Database, messages int) {
	b.Helper()
	srv.Exec(b, `CREATE FUNCTION pg_temp.h(name text) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$ SELECT ('x' || encode(substr(sha256(name::bytea), 1, 8), 'hex'))::bit(64)::bigint $$;
		INSERT INTO msa.msa_fact (time, what, keys, octets, fact)
		SELECT (1700000000 + i)::bigint * 1000000000, w, ARRAY[pg_temp.h('F' || i), pg_temp.h(usr), pg_temp.h(rcpt)], 800,
			'{"time":"2023-11-14T22:13:20Z","what":"' || w || '","id":"F' || i || '","server":"msa.example.org","user":"' || usr || '","sender":"' || usr || '","recipients":["' || rcpt || '"],"count":1,"lane":"a","attempt":1,"host":"mx.example.net","address":"192.0.2.1:25","tls":"TLS 1.3","answer":"250 2.0.0 ok","hop_id":"H' || i || '","duration":1000000}'
		FROM generate_series(1, `+fmt.Sprint(messages)+`) i, unnest(ARRAY['accepted', 'delivered']) w,
			LATERAL (SELECT 'user' || CASE WHEN i % 4 = 0 THEN 0 ELSE i % 1000 END || '@example.org' AS usr, 'to' || i % 50000 || '@example.net' AS rcpt) n ORDER BY i, w;
		INSERT INTO msa.msa_fact_key SELECT unnest(keys), pos FROM msa.msa_fact ORDER BY 1, 2`)
	srv.Exec(b, "VACUUM ANALYZE")
}

// BenchmarkJournalQueries is a journal of MSA_BENCH_FACTS (100,000; 1,000,000 is what counts): how long a page of 100 takes, the first and one
// in the middle. A quarter of all is one user's.
func BenchmarkJournalQueries(b *testing.B) {
	n := number("MSA_BENCH_FACTS", 100_000)
	srv := postgres.Start(b)
	s := open(b, Options{DSN: srv.DSN(), Node: "one"})
	defer s.Close()
	began := time.Now()
	fillFacts(b, &srv.Database, n/2)
	b.Logf("filled in %v", time.Since(began).Round(time.Second))
	for b.Loop() { // what is measured is not one number
	}
	for _, c := range []struct {
		name string
		q    func(i int) journal.Query
	}{
		{"id", func(i int) journal.Query { return journal.Query{ID: fmt.Sprint("F", 1+i*997%(n/2))} }},
		{"user", func(i int) journal.Query { return journal.Query{User: fmt.Sprintf("user%d@example.org", 1+4*i%999)} }},
		{"heavy-user", func(int) journal.Query { return journal.Query{User: "user0@example.org"} }},
		{"address", func(i int) journal.Query { return journal.Query{Address: fmt.Sprintf("to%d@example.net", i*131%50000)} }},
		{"recipient-of-heavy-user", func(i int) journal.Query {
			return journal.Query{User: "user0@example.org", Recipient: fmt.Sprintf("to%d@example.net", i*4%50000)}
		}},
		{"latest", func(int) journal.Query { return journal.Query{} }},
		{"middle", func(int) journal.Query {
			return journal.Query{User: "user0@example.org", Before: position(int64(n / 2))}
		}},
	} {
		var all []time.Duration
		found := 0
		for i := range 100 {
			q := c.q(i)
			began := time.Now()
			k := 0
			if err := s.Facts(context.Background(), &q, func(*journal.Fact) bool { k++; return k < 100 }); err != nil {
				b.Fatal(err)
			}
			all = append(all, time.Since(began))
			found += k
		}
		slices.Sort(all)
		b.Logf("%s: %.1f facts, p50 %v, p99 %v", c.name, float64(found)/100, all[50].Round(10*time.Microsecond), all[98].Round(10*time.Microsecond))
		b.ReportMetric(float64(all[98].Microseconds())/1000, c.name+"-p99-ms")
	}
	for _, what := range []struct {
		name string
		f    func() error
	}{
		{"stat", func() error { _, err := s.Stat(context.Background()); return err }},
		{"text", func() error {
			return s.Facts(context.Background(), &journal.Query{Text: "no such thing"}, func(*journal.Fact) bool { return true })
		}},
		{"forget", func() error {
			most := 800 * int64(n-n/10) // a tenth goes
			s.SetLimits(journal.Limits{MaxSize: most})
			for {
				if stat, err := s.Stat(context.Background()); err != nil || stat.Octets <= most {
					return err
				}
				time.Sleep(10 * time.Millisecond)
			}
		}},
	} {
		began := time.Now()
		if err := what.f(); err != nil {
			b.Fatal(err)
		}
		b.Logf("%s: %v", what.name, time.Since(began).Round(time.Millisecond))
		b.ReportMetric(time.Since(began).Seconds(), what.name+"-s")
	}
}

// BenchmarkJournalRate is messages accepted and delivered as fast as can be, in turns with two facts each and without, for
// MSA_BENCH_SECONDS (60) in all.
func BenchmarkJournalRate(b *testing.B) {
	const rounds = 20 // short ones: what else the machine does weighs on both alike
	srv := postgres.Start(b)
	s := open(b, Options{DSN: srv.DSN(), Node: "one"})
	defer s.Close()
	for b.Loop() { // what is measured is not one number
	}
	each := time.Duration(number("MSA_BENCH_SECONDS", 60)) * time.Second / rounds
	var rates, costs [2][]float64
	for round := range rounds {
		with := round%2 == 0
		s.SetLimits(journal.Limits{Off: !with, Keep: journal.DefaultKeep, MaxSize: journal.DefaultMaxSize})
		ctx, cancel := context.WithTimeout(context.Background(), each)
		var in, out atomic.Int64
		var group sync.WaitGroup
		began, spent := time.Now(), cpu(b, srv)
		for c := range 8 {
			group.Go(func() {
				for i := 0; ctx.Err() == nil; i++ {
					if in.Load()-out.Load() > 200 {
						time.Sleep(time.Millisecond)
						continue
					}
					a := accept(fmt.Sprintf("%dx%dx%08d", round, c, i))
					a.Facts = []journal.Fact{rateFact(journal.Accepted, a.Entry)}
					d, err := s.Create(ctx)
					if err != nil {
						return
					}
					_, _ = d.Write(make([]byte, 4096))
					if d.Commit(context.Background(), a) == nil {
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
					for i := range j.Recipients {
						j.Recipients[i].State = queue.Delivered
					}
					if l.Record(context.Background(), &queue.Record{At: time.Now(), Jobs: []queue.Job{*j}, Facts: []journal.Fact{rateFact(journal.Delivered, l.Entry())}}) == nil {
						out.Add(1)
					}
				}
			})
		}
		group.Wait()
		cancel()
		rate := float64(out.Load()) / time.Since(began).Seconds()
		rates[round%2] = append(rates[round%2], rate)
		cost := (cpu(b, srv) - spent).Seconds() / float64(out.Load()) * 1000
		costs[round%2] = append(costs[round%2], cost)
		b.Logf("facts %v: %.0f messages a second, %.2f ms of the processor each", with, rate, cost)
	}
	for i, without := range costs[1] {
		costs[0][i] /= without
	}
	slices.Sort(costs[0])
	b.ReportMetric(costs[0][rounds/4], "of-processor-without")
	for i, without := range rates[1] {
		rates[0][i] /= without
	}
	slices.Sort(rates[0])
	b.ReportMetric(rates[0][rounds/4], "of-rate-without")
}

// cpu is what this process and the server's have used of the processors: less than the rate does it depend on what else the machine does.
func cpu(b testing.TB, srv *postgres.Server) (spent time.Duration) {
	b.Helper()
	c, err := pgx.Connect(context.Background(), srv.DSN())
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = c.Close(context.Background()) }()
	rows, err := c.Query(context.Background(), "SELECT pid FROM pg_stat_activity")
	if err != nil {
		b.Fatal(err)
	}
	pids, err := pgx.CollectRows(rows, pgx.RowTo[int])
	if err != nil {
		b.Fatal(err)
	}
	for _, pid := range append(pids, os.Getpid()) {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue // it has ended
		}
		_, rest, _ := strings.Cut(string(text), ") ")
		for _, field := range strings.Fields(rest)[11:13] { // utime and stime, in hundredths of a second
			ticks, err := strconv.Atoi(field)
			if err != nil {
				b.Fatal(err)
			}
			spent += time.Duration(ticks) * 10 * time.Millisecond
		}
	}
	return spent
}

func rateFact(what journal.Kind, e *queue.Entry) journal.Fact {
	f := journal.Fact{Time: time.Now(), What: what, ID: e.ID, Server: e.Server, User: e.User, Sender: e.Sender, Count: len(e.Recipients)}
	for i := range e.Recipients {
		f.Recipients = append(f.Recipients, e.Recipients[i].Address)
	}
	if what == journal.Accepted {
		f.Submission = &journal.Submission{Size: e.Size, Body: "8BITMIME", RemoteIP: "192.0.2.1", Helo: "client.example.org", ClientTLS: "TLS 1.3, TLS_AES_128_GCM_SHA256", Mechanism: "PLAIN", Session: "4xk2p", Policies: []string{"headers", "dkim", "rate_limit"}}
	} else {
		f.Visit = &journal.Visit{Route: "relay", Lane: "relay/mx.example.net", Attempt: 1, Host: "mx.example.net", Address: "192.0.2.7:25", TLS: "TLS 1.3, TLS_AES_128_GCM_SHA256", Answer: "250 2.0.0 Ok: queued", HopID: "4Xyz", Duration: time.Second}
	}
	return f
}
