//go:build linux

package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-msa/caddy-msa/integration/bench/load"
)

func removeAll(dir string) { _ = os.RemoveAll(dir) }

// idle: what a session costs that says nothing.
func (b *bench) idle() error {
	const work, bar, n, most = "1,000 idle authenticated TLS sessions", "<= 35 KiB each", 1000, 35
	each := make(map[string][]float64)
	for round := range b.rounds {
		targets, stop, err := b.startAll(b.startOurs, b.limit("each"))
		if err != nil {
			return err
		}
		for _, t := range targets {
			kib, err := b.idleOf(t, n)
			if err != nil {
				stop()
				return fmt.Errorf("%s: %w", t.name, err)
			}
			progress("idle, round %d of %d, %s: %.1f KiB a session", round+1, b.rounds, t.name, kib)
			each[t.name] = append(each[t.name], kib)
		}
		stop()
	}
	limit := median(each["limit each"])
	b.report.note("idle: the limit uses %.1f KiB a session; growth of VmRSS, %v after the last came", limit, b.settle())
	if ours := each["caddy-msa"]; len(ours) > 0 {
		b.report.check(work, bar, fmt.Sprintf("%.1f KiB (limit %.1f)", median(ours), limit), median(ours) <= most)
	}
	return nil
}

// settle is how long idle sessions are held before memory is read.
func (b *bench) settle() time.Duration { return 2 * b.turn }

// idleOf is by how many KiB a session makes t grow, after one that makes what all
// share. More would leave garbage that the idle ones then find room in.
func (b *bench) idleOf(t *target, n int) (float64, error) {
	if _, err := b.measure(t, load.Options{Sessions: 1}); err != nil {
		return 0, err
	}
	before, err := t.memory()
	if err != nil {
		return 0, err
	}
	sessions, err := load.OpenIdle(b.ctx, load.Options{Addr: t.addr, User: user, Password: password, Clients: 16}, n)
	if err != nil {
		return 0, err
	}
	err = b.sleep(b.settle())
	after, merr := t.memory()
	if lost := sessions.Close(); lost > 0 && err == nil {
		err = fmt.Errorf("%d of %d idle sessions were lost", lost, n)
	}
	if err == nil {
		err = merr
	}
	return float64(after.RSS-before.RSS) / 1024 / float64(n), err
}

// start: from exec to 220, with a certificate that Caddy's storage has already.
func (b *bench) start() error {
	const work, bar, most = "start to first 220, certificate in storage", "<= 250 ms", 250
	t, err := b.prepareOurs("internal")
	if err == errLeftOut {
		return nil
	}
	if err != nil {
		return err
	}
	defer removeAll(t.dir)
	if _, err := b.launch(t); err != nil {
		return err
	}
	err = b.certified(t)
	t.stop()
	if err != nil {
		return err
	}
	var took []float64
	for range 5 {
		d, err := b.launch(t)
		if err != nil {
			return err
		}
		t.stop()
		took = append(took, ms(d))
		progress("start: %.0f ms", ms(d))
	}
	b.report.check(work, bar, fmt.Sprintf("%.0f ms", median(took)), median(took) <= most)
	return nil
}

// certified waits until a message goes through TLS: the certificate is there.
func (b *bench) certified(t *target) error {
	for since := time.Now(); ; {
		_, err := b.measure(t, load.Options{Sessions: 1})
		if err == nil || time.Since(since) > startWait {
			return err
		}
		if err := b.sleep(100 * time.Millisecond); err != nil {
			return err
		}
	}
}

// reload: sessions go on while the configuration changes.
func (b *bench) reload() error {
	const reloads = 5
	window := 4 * b.turn
	work := fmt.Sprintf("%d reloads in %.0f s at 16 clients", reloads, window.Seconds())
	targets, stop, err := b.startAll(b.startOurs)
	if err == errLeftOut {
		return nil
	}
	if err != nil {
		return err
	}
	defer stop()
	t := targets[0]
	var ratios, slowest []float64
	failed := 0
	for round := range b.rounds {
		o := load.Options{Clients: 16, Duration: window / 2, Warmup: warmup}
		calm, err := b.measure(t, o)
		if err != nil {
			return err
		}
		o.Duration = window
		done := make(chan reloaded, 1)
		go func() { done <- b.reloads(t, reloads, window, round) }()
		busy, err := b.measure(t, o)
		r := <-done
		if err != nil {
			return err
		}
		if r.err != nil {
			return r.err
		}
		p99, calm99 := ms(busy.Percentile(load.Total, .99)), ms(calm.Percentile(load.Total, .99))
		progress("reload, round %d of %d: %s; p99 %.1f ms, %.1f without reloads; slowest reload %.0f ms",
			round+1, b.rounds, busy.brief(), p99, calm99, ms(r.slowest))
		failed += busy.Failures() + calm.Failures()
		ratios, slowest = append(ratios, p99/calm99), append(slowest, ms(r.slowest))
	}
	b.report.check(work, "no failed session", strconv.Itoa(failed), failed == 0)
	b.report.check(work, "p99 within 1.5 x of that without reloads", fmt.Sprintf("%.2f x", median(ratios)), median(ratios) <= 1.5)
	b.report.note("reload: the slowest reload of a round took %.0f ms (median of rounds)", median(slowest))
	return nil
}

// reloaded is what came of a row of reloads.
type reloaded struct {
	slowest time.Duration
	err     error
}

// reloads spreads n reloads over the window, each with another limit of recipients.
func (b *bench) reloads(t *target, n int, window time.Duration, round int) (r reloaded) {
	if r.err = b.sleep(warmup); r.err != nil {
		return r
	}
	for i := range n {
		if r.err = b.sleep(window / time.Duration(n+1)); r.err != nil {
			return r
		}
		since := time.Now()
		text := b.oursText(t, b.cert+" "+b.key, strconv.Itoa(101+round*n+i))
		if r.err = b.post(t, text); r.err != nil {
			return r
		}
		r.slowest = max(r.slowest, time.Since(since))
	}
	return r
}

func (b *bench) post(t *target, text string) error {
	req, err := http.NewRequestWithContext(b.ctx, http.MethodPost, "http://"+t.admin+"/load", strings.NewReader(text))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "text/caddyfile")
	req.Header.Set("Cache-Control", "must-revalidate")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		why, _ := io.ReadAll(io.LimitReader(res.Body, 1000))
		return fmt.Errorf("reload: %s: %s", res.Status, why)
	}
	return nil
}
