//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	osuser "os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caddy-msa/caddy-msa/integration/bench/load"
	"github.com/caddy-msa/caddy-msa/integration/bench/proc"
)

// database is a PostgreSQL of a row's own.
type database struct {
	dsn  string
	pid  int
	stop func()
}

var errNoDatabase = errors.New("PostgreSQL is not installed")

func (b *bench) startDatabase() (*database, error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(found) == 0 {
		return nil, errNoDatabase
	}
	bin := filepath.Dir(found[len(found)-1])
	dir, err := b.directory("postgres")
	if err != nil {
		return nil, err
	}
	as := func(args ...string) []string { return args }
	if os.Getuid() == 0 { // it refuses to run as root
		u, err := osuser.Lookup("postgres")
		if err != nil {
			return nil, errNoDatabase
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		if err := os.Chown(dir, uid, gid); err != nil {
			return nil, err
		}
		as = func(args ...string) []string { return append([]string{"runuser", "-u", "postgres", "--"}, args...) }
	}
	init := as(filepath.Join(bin, "initdb"), "-D", dir+"/data", "-U", "msa", "-E", "UTF8", "--auth=trust", "--no-instructions")
	if out, err := exec.CommandContext(b.ctx, init[0], init[1:]...).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w: %s", err, out)
	}
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	port := addr[strings.LastIndex(addr, ":")+1:]
	p, err := startProcess(dir, as(filepath.Join(bin, "postgres"), "-D", dir+"/data", "-p", port, "-c", "listen_addresses=127.0.0.1",
		"-c", "unix_socket_directories=", "-c", "shared_buffers=256MB", "-c", "max_connections=200", "-c", "max_wal_size=4GB")...)
	if err != nil {
		return nil, err
	}
	d := &database{dsn: "postgres://msa@127.0.0.1:" + port + "/postgres?sslmode=disable", pid: p.cmd.Process.Pid, stop: func() { p.stop(); removeAll(dir) }}
	ready := filepath.Join(bin, "pg_isready")
	for end := time.Now().Add(startWait); exec.Command(ready, "-h", "127.0.0.1", "-p", port).Run() != nil; {
		if time.Now().After(end) {
			d.stop()
			return nil, errors.New("PostgreSQL does not come up")
		}
		if err := b.sleep(50 * time.Millisecond); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// startSharing runs the server with the spool in a schema of the database.
func (b *bench) startSharing(name string, d *database, schema string) starter {
	return func() (*target, error) {
		t, err := b.prepare(name, cheap, func(t *target) string {
			return strings.Replace(b.oursText(t, b.cert+" "+b.key, "100"), "spool file "+t.dir+"/spool",
				"spool postgres "+d.dsn+" {\n\t\t\tschema "+schema+"\n\t\t\tnode "+strings.ReplaceAll(name, " ", "-")+"\n\t\t}", 1)
		})
		if err != nil {
			return nil, err
		}
		_, err = b.launch(t)
		return t, err
	}
}

// shared: messages accepted and delivered by nodes with their spool in PostgreSQL, beside one with its spool in files. All share the
// machine with the database, so that more nodes add what one leaves of it.
func (b *bench) shared() error {
	const work, clients = "accepted and delivered, 4 KiB, 16 clients", 16
	d, err := b.startDatabase()
	if err == errNoDatabase {
		b.report.skip(work, ">= 0.25 of spool file", err.Error())
		return nil
	}
	if err != nil {
		return err
	}
	defer d.stop()
	files, stopFiles, err := b.startAll(b.startOurs)
	if err != nil {
		return err
	}
	defer stopFiles()
	all := make(map[string][]sharing)
	turn := func(name string, targets []*target, d *database) error {
		s, err := b.together(targets, clients, d)
		if err == nil {
			progress("shared, %s: %s", name, s)
			all[name] = append(all[name], s)
		}
		return err
	}
	for range b.rounds {
		if err := turn("file", files, nil); err != nil {
			return err
		}
		for _, nodes := range []int{1, 2, 3} {
			var starters []starter
			for i := range nodes {
				starters = append(starters, b.startSharing(fmt.Sprintf("node %d", i), d, "msa"))
			}
			targets, stop, err := b.startAll(starters...)
			if err != nil {
				return err
			}
			err = turn(fmt.Sprint(nodes), targets, d)
			stop()
			if err != nil {
				return err
			}
		}
	}
	of := func(name string, value func(sharing) float64) float64 {
		var values []float64
		for _, s := range all[name] {
			values = append(values, value(s))
		}
		return median(values)
	}
	rate := func(s sharing) float64 { return s.rate }
	file, one := of("file", rate), of("1", rate)
	b.report.check(work, ">= 0.25 of spool file", fmt.Sprintf("%.2f (%.0f/s of %.0f/s)", one/file, one, file), one >= .25*file)
	b.report.add("the same with nodes on one database", "figures", fmt.Sprintf("1: %.0f/s, 2: %.0f/s, 3: %.0f/s", one, of("2", rate), of("3", rate)), "-")
	for _, name := range []string{"file", "1", "2", "3"} {
		b.report.note("shared, %s: a message is %.3f ms of a processor in the nodes, %.3f ms in the database, %.1f kB of WAL, %.2f transactions that write.", name,
			of(name, func(s sharing) float64 { return s.nodes }), of(name, func(s sharing) float64 { return s.database }),
			of(name, func(s sharing) float64 { return s.wal / 1000 }), of(name, func(s sharing) float64 { return s.writes }))
	}
	return nil
}

// sharing is what one turn of several nodes came to: the rate, and what a message took.
type sharing struct {
	rate            float64 // messages a second
	nodes, database float64 // ms of a processor
	wal, writes     float64 // octets, and transactions that write
}

func (s sharing) String() string {
	return fmt.Sprintf("%.0f messages/s; a message: %.3f ms of a processor in the nodes, %.3f ms in the database, %.1f kB of WAL, %.2f transactions that write", s.rate, s.nodes, s.database, s.wal/1000, s.writes)
}

// written is how much the database has written, in octets of WAL, and the number that the next transaction gets.
func (b *bench) written(d *database) (wal, next float64, err error) {
	c, err := pgx.Connect(b.ctx, d.dsn)
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = c.Close(b.ctx) }()
	err = c.QueryRow(b.ctx, "SELECT (pg_current_wal_insert_lsn() - '0/0')::float8, pg_snapshot_xmax(pg_current_snapshot())::text::float8").Scan(&wal, &next)
	return wal, next, err
}

// together loads several nodes at once, and returns at what rate what they accepted was delivered too.
func (b *bench) together(targets []*target, clients int, d *database) (s sharing, err error) {
	nodes := func() (sum time.Duration) {
		for _, t := range targets {
			sum += t.cpu()
		}
		return sum
	}
	used := nodes()
	var ofDatabase time.Duration
	var wal, writes float64
	if d != nil {
		ofDatabase = proc.CPU(d.pid)
		if wal, writes, err = b.written(d); err != nil {
			return s, err
		}
	}
	relayed, began := b.sink.Messages(), time.Now()
	results, failed := make([]*load.Result, len(targets)), make([]error, len(targets))
	var group sync.WaitGroup
	for i, t := range targets {
		group.Go(func() {
			results[i], failed[i] = load.Run(b.ctx, load.Options{Addr: t.addr, User: user, Password: password, Clients: max(1, clients/len(targets)), Messages: 100, Duration: b.turn})
		})
	}
	group.Wait()
	sent := 0
	for i := range targets {
		if failed[i] != nil {
			return s, failed[i]
		}
		if len(results[i].Failed) > 0 {
			progress("shared, %s: %v", targets[i].name, results[i].Failed)
		}
		sent += results[i].AllMessages
	}
	if sent == 0 {
		return s, errors.New("no message was accepted")
	}
	if _, err := b.drained(relayed + int64(sent)); err != nil {
		return s, err
	}
	n := float64(sent)
	s.rate, s.nodes = n/time.Since(began).Seconds(), ms(nodes()-used)/n
	if d != nil {
		s.database = ms(proc.CPU(d.pid)-ofDatabase) / n
		nowWAL, nowWrites, err := b.written(d)
		if err != nil {
			return s, err
		}
		s.wal, s.writes = (nowWAL-wal)/n, (nowWrites-writes)/n
	}
	return s, nil
}
