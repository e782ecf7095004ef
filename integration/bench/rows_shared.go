//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	osuser "os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/caddy-msa/caddy-msa/integration/bench/load"
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
	rates := make(map[string][]float64)
	turn := func(name string, targets []*target) error {
		rate, err := b.together(targets, clients)
		if err == nil {
			progress("shared, %s: %.0f messages/s", name, rate)
			rates[name] = append(rates[name], rate)
		}
		return err
	}
	for range b.rounds {
		if err := turn("file", files); err != nil {
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
			err = turn(fmt.Sprint(nodes), targets)
			stop()
			if err != nil {
				return err
			}
		}
	}
	median := func(name string) float64 {
		all := slices.Sorted(slices.Values(rates[name]))
		return all[len(all)/2]
	}
	file, one := median("file"), median("1")
	b.report.check(work, ">= 0.25 of spool file", fmt.Sprintf("%.2f (%.0f/s of %.0f/s)", one/file, one, file), one >= .25*file)
	b.report.add("the same with nodes on one database", "figures", fmt.Sprintf("1: %.0f/s, 2: %.0f/s, 3: %.0f/s", one, median("2"), median("3")), "-")
	return nil
}

// together loads several nodes at once, and returns at what rate what they accepted was delivered too.
func (b *bench) together(targets []*target, clients int) (float64, error) {
	relayed, began := b.sink.Messages(), time.Now()
	results, failed := make([]*load.Result, len(targets)), make([]error, len(targets))
	var group sync.WaitGroup
	for i, t := range targets {
		group.Go(func() {
			results[i], failed[i] = load.Run(b.ctx, load.Options{Addr: t.addr, User: user, Password: password, Clients: max(1, clients/len(targets)), Messages: 100, Duration: b.turn})
		})
	}
	group.Wait()
	all := 0
	for i := range targets {
		if failed[i] != nil {
			return 0, failed[i]
		}
		if len(results[i].Failed) > 0 {
			progress("shared, %s: %v", targets[i].name, results[i].Failed)
		}
		all += results[i].AllMessages
	}
	if all == 0 {
		return 0, errors.New("no message was accepted")
	}
	if _, err := b.drained(relayed + int64(all)); err != nil {
		return 0, err
	}
	return float64(all) / time.Since(began).Seconds(), nil
}
