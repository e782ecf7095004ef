//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-msa/caddy-msa/integration/bench/load"
)

func sessionRate(s sample) float64 { return s.SessionsPerSecond() }
func messageRate(s sample) float64 { return s.MessagesPerSecond() }
func octetRate(s sample) float64   { return s.MBPerSecond() }

// sessions: many clients that connect for each message.
func (b *bench) sessions() error {
	const work = "full sessions, 4 KiB, 64 clients"
	targets, stop, err := b.startAll(b.startOurs, b.limit("group"), b.postfix)
	if err != nil {
		return err
	}
	defer stop()
	c, err := b.contest("sessions", targets, load.Options{Clients: 64})
	if err != nil {
		return err
	}
	b.report.ratio(c, work, ">= 0.78 of limit group", "caddy-msa", "limit group", sessionRate, true, .78)
	b.report.ratio(c, work, ">= 3 x Postfix + Dovecot", "caddy-msa", "Postfix", sessionRate, true, 3)
	return nil
}

// single: one client that connects for each message.
func (b *bench) single() error {
	const work, step = "the same with one client", 40 * time.Millisecond
	targets, stop, err := b.startAll(b.startOurs, b.limit("each"))
	if err != nil {
		return err
	}
	defer stop()
	c, err := b.contest("single", targets, load.Options{})
	if err != nil {
		return err
	}
	b.report.ratio(c, work, "median latency <= 2.5 x limit each", "caddy-msa", "limit each",
		func(s sample) float64 { return ms(s.Percentile(load.Total, .5)) }, false, 2.5)
	if ours := c.samples["caddy-msa"]; len(ours) > 0 {
		// Nagle against a delayed ACK hits each session in the same place.
		slowest, at := 0.0, load.Connect
		for ph := load.Connect; ph <= load.Data; ph++ {
			if p50 := field(ours, func(s sample) float64 { return ms(s.Percentile(ph, .5)) }); p50 > slowest {
				slowest, at = p50, ph
			}
		}
		b.report.check(work, "no 40 ms step", fmt.Sprintf("slowest phase is %s, median %.2f ms", at, slowest), slowest < ms(step))
	}
	b.report.ratio(c, "server CPU of one session, relay included", "<= 2 x limit each", "caddy-msa", "limit each",
		func(s sample) float64 { return s.cpuPer(s.AllMessages) }, false, 2)
	return nil
}

// many: clients that keep their session.
func (b *bench) many() error {
	const work = "100 messages of 4 KiB a session, 16 clients"
	targets, stop, err := b.startAll(b.startOurs, b.limit("group"), b.postfix)
	if err != nil {
		return err
	}
	defer stop()
	o := load.Options{Clients: 16, Messages: 100}
	c, err := b.contest("many", targets, o)
	if err != nil {
		return err
	}
	b.report.ratio(c, work, ">= 0.50 of limit group", "caddy-msa", "limit group", messageRate, true, .5)
	b.report.ratio(c, work, ">= 4 x Postfix + Dovecot", "caddy-msa", "Postfix", messageRate, true, 4)
	return b.syncs(work, o)
}

// syncs counts those of a server run under strace, where other calls go at full speed.
func (b *bench) syncs(work string, o load.Options) error {
	const bar = "< 0.2 syncs a message"
	strace, err := exec.LookPath("strace")
	if err != nil {
		b.report.skip(work, bar, "strace is not installed")
		return nil
	}
	t, err := b.prepareOurs("")
	if err == errLeftOut {
		return nil
	}
	if err != nil {
		return err
	}
	defer removeAll(t.dir)
	counts := filepath.Join(t.dir, "strace")
	if _, err := b.launch(t, strace, "-f", "--seccomp-bpf", "-c", "-o", counts, "-e", "trace=fsync,fdatasync,msync,syncfs,sync"); err != nil {
		b.report.skip(work, bar, fmt.Sprint("strace: ", err))
		return nil
	}
	o.Duration = min(b.turn, 3*time.Second)
	s, err := b.measure(t, o)
	t.stop()
	if err != nil {
		return err
	}
	text, err := os.ReadFile(counts)
	if err != nil {
		return err
	}
	n := countCalls(string(text))
	a := float64(n) / float64(s.AllMessages)
	b.report.check(work, bar, fmt.Sprintf("%.3f (%d of %d messages, relaying included)", a, n, s.AllMessages), n > 0 && a < .2)
	return nil
}

// countCalls sums the calls of strace -c: "% time, seconds, usecs/call, calls,
// errors (may be missing), syscall".
func countCalls(table string) (sum int) {
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) < 5 || f[len(f)-1] == "total" {
			continue
		}
		if n, err := strconv.Atoi(f[3]); err == nil {
			sum += n
		}
	}
	return sum
}

// large: messages far larger than any buffer.
func (b *bench) large() error {
	const work, mib = "20 MiB messages, 4 clients", 1 << 20
	targets, stop, err := b.startAll(b.startOurs, b.limit("each"))
	if err != nil {
		return err
	}
	c, err := b.contest("large", targets, load.Options{Clients: 4, Size: 20 * mib})
	stop()
	if err != nil {
		return err
	}
	b.report.ratio(c, work, ">= 0.65 of limit each, MB/s", "caddy-msa", "limit each", octetRate, true, .65)

	// Each size has a server of its own, for a peak of its own.
	const most = 32
	for _, size := range []int{1, 20, 50} {
		targets, stop, err := b.startAll(b.startOurs)
		if err == errLeftOut {
			return nil
		}
		if err != nil {
			return err
		}
		peak := watchAnon(targets[0])
		s, err := b.measure(targets[0], load.Options{Clients: 4, Size: size * mib, Duration: b.turn})
		anon := float64(peak()) / mib
		m, merr := targets[0].memory()
		stop()
		if err = errors.Join(err, merr); err != nil {
			return err
		}
		progress("large, %d MiB: %s", size, s.brief())
		b.report.check(fmt.Sprintf("%d MiB messages, 4 clients", size), "anonymous memory <= 32 MiB at its peak",
			fmt.Sprintf("%.1f MiB, and %d mapped from the program's file", anon, (m.RSS-m.Anon)/mib), anon <= most)
	}
	return nil
}

// watchAnon looks at a target's anonymous memory until the result, the most that it saw, is asked for.
func watchAnon(t *target) (peak func() int64) {
	done, result := make(chan struct{}), make(chan int64)
	go func() {
		most := int64(0)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			if m, err := t.memory(); err == nil {
				most = max(most, m.Anon)
			}
			select {
			case <-tick.C:
			case <-done:
				result <- most
				return
			}
		}
	}()
	return func() int64 {
		close(done)
		return <-result
	}
}
