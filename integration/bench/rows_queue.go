//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-msa/caddy-msa/integration/bench/load"
)

// Lanes of the row about what waits: each at an address of loopback's where nothing listens.
const (
	waitingLanes = 1000
	downLanes    = 900
)

// waitingText is the common configuration with a route for each lane.
func (b *bench) waitingText(t *target, closed string) string {
	var routes strings.Builder
	for i := range waitingLanes {
		fmt.Fprintf(&routes, "@d%d recipient_domain d%d.example\n\t\tdeliver @d%d relay 127.1.%d.%d:%s {\n\t\t\ttls off\n\t\t}\n\t\t", i, i, i, i/250, i%250, closed)
	}
	return b.routesText(t, routes.String()+toSink)
}

// waitingLane is a lane's name, as the server makes it.
func waitingLane(i int, closed string) string {
	return fmt.Sprintf("relay/127.1.%d.%d:%s", i/250, i%250, closed)
}

// waiting: what waits, most of it for hops that are down, costs the others nothing.
func (b *bench) waiting() error {
	const messages = 200_000
	work := fmt.Sprintf("%d messages wait in %d lanes, %d of them down", messages, waitingLanes, downLanes)
	addr, err := freeAddr()
	if err != nil {
		return err
	}
	_, closed, _ := net.SplitHostPort(addr)
	prepare := func(name string) (*target, error) {
		return b.prepare(name, cheap, func(t *target) string { return b.waitingText(t, closed) })
	}
	full, err := prepare("full")
	if err == errLeftOut {
		return nil
	}
	if err != nil {
		return err
	}
	defer removeAll(full.dir)
	lanes := make([]string, waitingLanes)
	for i := range lanes {
		lanes[i] = waitingLane(i, closed)
	}
	if err := b.fill(full, "bob@d0.example", messages, downLanes, lanes); err != nil {
		return err
	}
	var starts []float64
	for range 3 {
		took, err := b.launch(full)
		if err != nil {
			return err
		}
		starts = append(starts, took.Seconds())
		if len(starts) < 3 {
			full.stop()
		}
	}
	b.report.check(work, "start < 1 s", fmt.Sprintf("%.2f s", median(starts)), median(starts) < 1)
	if err := b.untilDown(full, downLanes); err != nil {
		full.stop()
		return err
	}
	err = b.besideEmpty(work, full, prepare)
	if err == nil {
		err = b.listed(work, full)
	}
	full.stop()
	if err != nil {
		return err
	}
	return b.leases(work, full, lanes[:downLanes])
}

// fill leaves a message with a server of t's configuration, and puts as many of its kind into its spool.
func (b *bench) fill(t *target, to string, messages, due int, lanes []string) error {
	if _, err := b.launch(t); err != nil {
		return err
	}
	relays := t.relays
	t.relays = false // not this one
	_, err := b.measure(t, load.Options{Sessions: 1, To: to})
	t.relays = relays
	t.stop()
	if err != nil {
		return err
	}
	names := filepath.Join(t.dir, "lanes")
	if err := os.WriteFile(names, []byte(strings.Join(lanes, "\n")), 0o600); err != nil {
		return err
	}
	began := time.Now()
	if _, err := b.self("fill", "-messages", strconv.Itoa(messages), "-lanes", names, "-due", strconv.Itoa(due), filepath.Join(t.dir, "spool")); err != nil {
		return err
	}
	progress("%d messages put into the spool in %.0f s", messages, time.Since(began).Seconds())
	return nil
}

// self runs a command of this program and returns what it printed.
func (b *bench) self(args ...string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	out, err := exec.CommandContext(b.ctx, self, args...).Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		err = fmt.Errorf("%s: %w: %s", args[0], err, exit.Stderr)
	}
	return strings.TrimSpace(string(out)), err
}

// untilDown waits until the server has found out which lanes are down.
func (b *bench) untilDown(t *target, want int) error {
	for since := time.Now(); ; {
		var all struct{ Lanes []struct{ State string } }
		if err := b.get(t, "/msa/lanes", &all); err != nil {
			return err
		}
		down := 0
		for _, l := range all.Lanes {
			if l.State == "down" {
				down++
			}
		}
		if down >= want {
			progress("%d lanes are down after %.1f s", down, time.Since(since).Seconds())
			return nil
		}
		if time.Since(since) > time.Minute {
			return fmt.Errorf("%d lanes of %d are down after a minute", down, want)
		}
		if err := b.sleep(100 * time.Millisecond); err != nil {
			return err
		}
	}
}

// besideEmpty compares submission with that of a server whose queue is empty.
func (b *bench) besideEmpty(work string, full *target, prepare func(string) (*target, error)) error {
	empty, err := prepare("empty")
	if err != nil {
		return err
	}
	defer removeAll(empty.dir)
	if _, err := b.launch(empty); err != nil {
		return err
	}
	defer empty.stop()
	c, err := b.contest("waiting", []*target{full, empty}, load.Options{Clients: 16, Messages: 100})
	if err != nil {
		return err
	}
	b.report.ratio(c, work, "submission >= 0.95 of an empty queue's", "full", "empty", messageRate, true, .95)
	return nil
}

// listed takes the time of pages of the list.
func (b *bench) listed(work string, t *target) error {
	const most = 5
	for _, of := range []struct{ what, query string }{
		{"a page of the list", ""},
		{"a page with a filter that matches nothing", "&user=nobody@example.org"},
	} {
		var took []float64
		for after, i := "", 0; i < 50; i++ {
			var page struct{ Next string }
			began := time.Now()
			if err := b.get(t, "/msa/queue?limit=100"+of.query+"&after="+after, &page); err != nil {
				return err
			}
			took = append(took, ms(time.Since(began)))
			after = page.Next
		}
		b.report.check(work, of.what+" < 5 ms", fmt.Sprintf("%.1f ms", median(took)), median(took) < most)
	}
	return nil
}

// leases takes the time of leases in the spool that the server has left.
func (b *bench) leases(work string, t *target, down []string) error {
	const most = 50
	names := filepath.Join(t.dir, "down")
	if err := os.WriteFile(names, []byte(strings.Join(down, "\n")), 0o600); err != nil {
		return err
	}
	out, err := b.self("leases", "-down", names, filepath.Join(t.dir, "spool"))
	if err != nil {
		return err
	}
	ns, err := strconv.Atoi(out)
	if err != nil {
		return err
	}
	b.report.check(work, "a lease < 50 µs", fmt.Sprintf("%.1f µs", float64(ns)/1000), ns < most*1000)
	return nil
}

// held: what a message that waits takes of memory.
func (b *bench) held() error {
	const messages, most, mib = 500_000, 153, 1 << 20
	for _, n := range []int{1000, 100_000} {
		work := fmt.Sprintf("%d messages wait in %d lanes", messages, n)
		t, err := b.prepare("held", cheap, func(t *target) string {
			return b.routesText(t, "@far recipient_domain *.example\n\t\tdeliver @far relay mx {\n\t\t\tname far\n\t\t}\n\t\t"+toSink)
		})
		if err == errLeftOut {
			return nil
		}
		if err != nil {
			return err
		}
		lanes := make([]string, n)
		for i := range lanes {
			lanes[i] = fmt.Sprintf("far/d%d.example", i)
		}
		err = b.fill(t, "bob@d0.example", messages, 0, lanes)
		var took time.Duration
		if err == nil {
			took, err = b.launch(t)
		}
		if err != nil {
			return err
		}
		err = b.sleep(b.settle())
		m, merr := t.memory()
		t.stop()
		removeAll(t.dir)
		if err = errors.Join(err, merr); err != nil {
			return err
		}
		progress("held: started in %.2f s", took.Seconds())
		b.report.check(work, "anonymous memory <= 153 MiB", fmt.Sprintf("%.0f MiB, and %.0f mapped from files", float64(m.Anon)/mib, float64(m.RSS-m.Anon)/mib), m.Anon <= most*mib)
	}
	return nil
}

// get asks the admin API.
func (b *bench) get(t *target, path string, into any) error {
	req, err := http.NewRequestWithContext(b.ctx, http.MethodGet, "http://"+t.admin+path, nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", path, res.Status, text)
	}
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}
