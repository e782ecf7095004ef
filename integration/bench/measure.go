//go:build linux

package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/caddy-msa/caddy-msa/integration/bench/load"
)

const (
	warmup     = time.Second
	drainQuiet = 10 * time.Second // without a relayed message, the rest is not coming
)

// sample is one turn of one server.
type sample struct {
	*load.Result
	cpu   time.Duration // of the server, relaying included
	drain time.Duration // from the load's end to the last relayed message
	peak  int64         // memory, of a target of one process
}

// measure gives t one turn.
func (b *bench) measure(t *target, o load.Options) (sample, error) {
	o.Addr, o.User, o.Password = t.addr, user, password
	if t.web != "" {
		o.Addr, o.HTTP, o.JSON = t.web, true, t.json
	}
	relayed, cpu := b.sink.Messages(), t.cpu()
	r, err := load.Run(b.ctx, o)
	if err == nil {
		err = b.ctx.Err()
	}
	if err != nil {
		return sample{}, err
	}
	s := sample{Result: r}
	if t.relays {
		if s.drain, err = b.drained(relayed + int64(r.AllMessages)); err != nil {
			return s, fmt.Errorf("%s: %w", t.name, err)
		}
	}
	if t.delivers {
		if s.drain, err = b.emptied(t); err != nil {
			return s, fmt.Errorf("%s: %w", t.name, err)
		}
	}
	s.cpu = t.cpu() - cpu
	if len(t.roots) == 1 {
		if m, err := t.memory(); err == nil {
			s.peak = m.Peak
		}
	}
	if r.AllMessages == 0 {
		return s, fmt.Errorf("%s accepted no message: %v", t.name, r.Failed)
	}
	return s, nil
}

// drained waits until the sink has had so many messages.
func (b *bench) drained(want int64) (time.Duration, error) {
	since := time.Now()
	for last, seen := since, b.sink.Messages(); seen < want; {
		if err := b.sleep(2 * time.Millisecond); err != nil {
			return 0, err
		}
		if now := b.sink.Messages(); now != seen {
			last, seen = time.Now(), now
		} else if time.Since(last) > drainQuiet {
			return 0, fmt.Errorf("%d accepted messages were not relayed", want-seen)
		}
	}
	return time.Since(since), nil
}

// emptied waits until our server's queue is empty.
func (b *bench) emptied(t *target) (time.Duration, error) {
	for since := time.Now(); ; {
		asked := time.Now()
		var page struct{ Entries []struct{ ID string } }
		if err := b.get(t, "/msa/queue?limit=1", &page); err != nil {
			return 0, err
		}
		took := time.Since(since)
		switch {
		case len(page.Entries) == 0:
			return took, nil
		case took > time.Minute:
			return took, fmt.Errorf("%s still waits after a minute", page.Entries[0].ID)
		}
		// To list what has a thousand jobs is work that is not to be measured.
		if err := b.sleep(max(20*time.Millisecond, 30*time.Since(asked))); err != nil {
			return 0, err
		}
	}
}

// contest is the samples of several servers, taken turn by turn.
type contest struct {
	row     string
	samples map[string][]sample // by the target's name
}

// contest gives the targets b.rounds turns each; who begins changes with the round.
func (b *bench) contest(row string, targets []*target, o load.Options) (*contest, error) {
	c := &contest{row: row, samples: make(map[string][]sample)}
	o.Duration, o.Warmup = b.turn, warmup
	for round := range b.rounds {
		for i := range targets {
			t := targets[(i+round)%len(targets)]
			s, err := b.measure(t, o)
			if err != nil {
				return nil, err
			}
			progress("%s, round %d of %d, %s: %s", row, round+1, b.rounds, t.name, s.brief())
			c.samples[t.name] = append(c.samples[t.name], s)
			if t.clean != nil {
				t.clean()
			}
		}
	}
	for _, t := range targets {
		b.report.raw(row, t.name, c.samples[t.name])
	}
	return c, nil
}

func (s sample) brief() string {
	text := fmt.Sprintf("%.0f sessions/s, %.0f messages/s, %.1f MB/s, p50 %.1f ms, CPU %.2f ms a message",
		s.SessionsPerSecond(), s.MessagesPerSecond(), s.MBPerSecond(), ms(s.Percentile(load.Total, .5)), s.cpuPer(s.AllMessages))
	if s.drain > time.Second {
		text += fmt.Sprintf(", relayed %.1f s later", s.drain.Seconds())
	}
	for _, f := range slices.Sorted(maps.Keys(s.Failed)) {
		text += fmt.Sprintf("; %d FAILED: %s", s.Failed[f], f)
	}
	return text
}

// cpuPer is the server's milliseconds for each of n.
func (s sample) cpuPer(n int) float64 {
	if n == 0 {
		return 0
	}
	return ms(s.cpu) / float64(n)
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// ratio is the median, over the rounds, of what one server measured in a round to
// what the other did; no samples of one: not known.
func (c *contest) ratio(of, to string, value func(sample) float64) (float64, bool) {
	a, z := c.samples[of], c.samples[to]
	if len(a) == 0 || len(a) != len(z) {
		return 0, false
	}
	ratios := make([]float64, len(a))
	for i := range a {
		if v := value(z[i]); v != 0 {
			ratios[i] = value(a[i]) / v
		}
	}
	return median(ratios), true
}

// failures of one server's sessions in all rounds.
func (c *contest) failures(of string) (n int) {
	for _, s := range c.samples[of] {
		n += s.Failures()
	}
	return n
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(v))
	if len(s)%2 == 0 {
		return (s[len(s)/2-1] + s[len(s)/2]) / 2
	}
	return s[len(s)/2]
}

// field is the median of one measure of a server's samples.
func field(samples []sample, value func(sample) float64) float64 {
	values := make([]float64, len(samples))
	for i, s := range samples {
		values[i] = value(s)
	}
	return median(values)
}

// starter starts a server.
type starter func() (*target, error)

// startAll starts what a row compares. One that is left out, and a Postfix that is not
// there, is missing in the result; stop ends all that were started.
func (b *bench) startAll(starters ...starter) (targets []*target, stop func(), err error) {
	stop = func() {
		for _, t := range targets {
			t.stop()
			removeAll(t.dir)
		}
	}
	for _, start := range starters {
		t, err := start()
		if errors.Is(err, errLeftOut) {
			continue
		}
		if err != nil {
			stop()
			return nil, nil, err
		}
		if t != nil {
			targets = append(targets, t)
		}
	}
	if len(targets) == 0 {
		return nil, nil, errLeftOut
	}
	return targets, stop, nil
}

// postfix starts it, or says once why not.
func (b *bench) postfix() (*target, error) {
	t, err := b.startPostfix()
	if err != nil && !errors.Is(err, errLeftOut) {
		b.report.noPostfix(err)
		return nil, nil
	}
	return t, err
}

func (b *bench) limit(store string) starter {
	return func() (*target, error) { return b.startLimit(store) }
}
