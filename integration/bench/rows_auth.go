//go:build linux

package main

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/passwd"
	"github.com/caddy-msa/caddy-msa/integration/bench/load"
)

// authVariant is a server of ours with other users. Nothing is throttled, and a
// session may fail as often as it likes.
type authVariant struct{ name, users string }

// startVariant runs one.
func (b *bench) startVariant(v authVariant) starter {
	return func() (*target, error) {
		t, err := b.prepareWith(v.name, v.users, "throttle off", "auth_failures 1000000000\n\t\t\tcommands_before_auth 1000000000")
		if err != nil {
			return nil, err
		}
		_, err = b.launch(t)
		return t, err
	}
}

// costly is the user's line with an honest hash, as `caddy msa user` makes it.
func costly() (string, error) {
	c, err := passwd.Generate("ARGON2ID", user, password, passwd.Options{})
	return user + ":" + c + "\n", err
}

// cache: an honest hash costs those who come again nothing.
func (b *bench) cache() error {
	line, err := costly()
	if err != nil {
		return err
	}
	targets, stop, err := b.startAll(b.startVariant(authVariant{"Argon2id", line}), b.startVariant(authVariant{"SHA512-CRYPT", cheap}))
	if err == errLeftOut {
		return nil
	}
	if err != nil {
		return err
	}
	defer stop()
	c, err := b.contest("cache", targets, load.Options{Clients: 64})
	if err != nil {
		return err
	}
	b.report.ratio(c, "full sessions of users who come again", "Argon2id >= 0.9 of SHA512-CRYPT", "Argon2id", "SHA512-CRYPT", sessionRate, true, .9)
	return nil
}

// flood: strangers who guess at a costly hash leave the others their server.
func (b *bench) flood() error {
	const work, most = "500 guesses a second at an Argon2id hash", 2
	line, err := costly()
	if err != nil {
		return err
	}
	targets, stop, err := b.startAll(b.startVariant(authVariant{"caddy-msa", line}))
	if err == errLeftOut {
		return nil
	}
	if err != nil {
		return err
	}
	defer stop()
	t := targets[0]
	var ratios, rates []float64
	for round := range b.rounds {
		o := load.Options{Duration: b.turn, Warmup: warmup}
		calm, err := b.measure(t, o)
		if err != nil {
			return err
		}
		guesses, err := b.guess(t, 500)
		if err != nil {
			return err
		}
		since, before := time.Now(), guesses.count.Load()
		busy, err := b.measure(t, o)
		rate := float64(guesses.count.Load()-before) / time.Since(since).Seconds()
		guesses.stop()
		if err != nil {
			return err
		}
		p50, calm50 := ms(busy.Percentile(load.Total, .5)), ms(calm.Percentile(load.Total, .5))
		progress("flood, round %d of %d: %.0f guesses/s; a session %.2f ms, %.2f without", round+1, b.rounds, rate, p50, calm50)
		if n := busy.Failures(); n > 0 {
			return fmt.Errorf("%d sessions failed: %v", n, busy.Failed)
		}
		ratios, rates = append(ratios, p50/calm50), append(rates, rate)
	}
	b.report.check(work, "others' median session <= 2 x that without", fmt.Sprintf("%.2f x at %.0f guesses/s", median(ratios), median(rates)), median(ratios) <= most)
	return nil
}

// guesses is a flood under way.
type guesses struct {
	done  chan struct{}
	wg    sync.WaitGroup
	count atomic.Int64 // answered
}

func (g *guesses) stop() {
	close(g.done)
	g.wg.Wait()
}

// guess sends so many wrong passwords a second, over connections that each wait for
// their answer; there are enough of them for those that wait for the hash.
func (b *bench) guess(t *target, rate int) (*guesses, error) {
	g := &guesses{done: make(chan struct{})}
	ticks := make(chan struct{})
	g.wg.Go(func() {
		tick := time.NewTicker(time.Second / time.Duration(rate))
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				select {
				case ticks <- struct{}{}:
				case <-g.done:
					return
				}
			case <-g.done:
				return
			}
		}
	})
	for range 150 {
		probe, err := load.OpenProbe(b.ctx, load.Options{Addr: t.addr})
		if err != nil {
			g.stop()
			return nil, err
		}
		g.wg.Go(func() {
			defer probe.Close()
			for {
				select {
				case <-ticks:
				case <-g.done:
					return
				}
				if _, _, err := probe.Auth(user, "guess"+strconv.FormatInt(g.count.Load(), 10)); err != nil {
					return
				}
				g.count.Add(1)
			}
		})
	}
	return g, nil
}

// refusal: the time of a refusal does not tell who exists.
func (b *bench) refusal() error {
	const work = "time of a refusal, unknown user beside a wrong password"
	targets, stop, err := b.startAll(b.startVariant(authVariant{"caddy-msa", cheap}))
	if err == errLeftOut {
		return nil
	}
	if err != nil {
		return err
	}
	defer stop()
	probe, err := load.OpenProbe(b.ctx, load.Options{Addr: targets[0].addr})
	if err != nil {
		return err
	}
	defer probe.Close()
	var known, unknown []float64
	n := 100 * int(b.turn/time.Millisecond) / 250 // 2,000 of each in 5 s
	for i := range 2 * n {
		name, into := user, &known
		if i%2 == 1 {
			name, into = fmt.Sprintf("user%d@example.com", i), &unknown
		}
		code, took, err := probe.Auth(name, "wrong")
		if err != nil {
			return err
		}
		if code != "535" {
			return fmt.Errorf("a wrong password is answered %s", code)
		}
		*into = append(*into, ms(took))
	}
	ratio, z := median(unknown)/median(known), rankSum(unknown, known)
	b.report.check(work, "medians within 3 %, and no telling apart (|z| < 4)", fmt.Sprintf("%.3f, z = %.1f, %d of each", ratio, z, n),
		math.Abs(ratio-1) <= .03 && math.Abs(z) < 4)
	return nil
}

// rankSum is the standard score of the Wilcoxon rank-sum test: how many standard
// deviations the ranks of a are away from those of the same distribution as z's.
func rankSum(a, z []float64) float64 {
	all := slices.Concat(a, z)
	slices.Sort(all)
	sum := 0.0
	for _, v := range a {
		first, _ := slices.BinarySearch(all, v)
		last := first
		for last < len(all) && all[last] == v {
			last++
		}
		sum += float64(first+last+1) / 2 // the mean rank of those that are equal
	}
	n, m := float64(len(a)), float64(len(z))
	return (sum - n*(n+m+1)/2) / math.Sqrt(n*m*(n+m+1)/12)
}
