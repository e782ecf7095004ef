//go:build linux

package main

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/integration/bench/load"
)

// TestMain lets the test binary be the least-work server that the runner starts.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "serve" {
		if err := serveCommand(context.Background(), os.Args[2:]); err != nil {
			panic(err)
		}
		return
	}
	os.Exit(m.Run())
}

// The runner goes through a contest of limits; nothing is timed.
func TestContest(t *testing.T) {
	b := &bench{ctx: t.Context(), top: t.TempDir(), turn: 50 * time.Millisecond, rounds: 2, without: []string{"server", "postfix"}, report: new(report)}
	if err := b.open(); err != nil {
		t.Fatal(err)
	}
	defer b.close()
	b.report.facts(b.top)
	targets, stop, err := b.startAll(b.startOurs, b.limit("each"), b.limit("group"), b.postfix)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	if len(targets) != 2 {
		t.Fatalf("%d targets, want 2", len(targets))
	}
	c := &contest{samples: make(map[string][]sample)}
	for _, target := range targets {
		s, err := b.measure(target, load.Options{Clients: 2, Sessions: 4})
		if err != nil {
			t.Fatal(err)
		}
		if s.Sessions != 4 || s.peak == 0 {
			t.Errorf("%s: %s", target.name, s.brief())
		}
		c.samples[target.name] = append(c.samples[target.name], s)
		target.clean()
	}
	b.report.ratio(c, "work", "any", "limit each", "limit group", messageRate, true, 0)
	b.report.ratio(c, "work", "any", "caddy-msa", "limit group", messageRate, true, 0)
	b.report.raw("row", "limit each", c.samples["limit each"])
	var out bytes.Buffer
	b.report.print(&out)
	for _, want := range []string{"  ok", "caddy-msa or limit group is missing", "skipped", "limit each"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in the report:\n%s", want, out.String())
		}
	}
}

func TestMedian(t *testing.T) {
	for _, tt := range []struct {
		v    []float64
		want float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{3, 1, 2}, 2}, {[]float64{4, 1}, 2.5}} {
		if got := median(tt.v); got != tt.want {
			t.Errorf("median of %v is %v, want %v", tt.v, got, tt.want)
		}
	}
}

func TestRatio(t *testing.T) {
	of := func(rates ...int) (s []sample) {
		for _, r := range rates {
			s = append(s, sample{Result: &load.Result{Messages: r, Elapsed: time.Second}})
		}
		return s
	}
	c := &contest{samples: map[string][]sample{"a": of(10, 40, 30), "b": of(20, 20, 20), "short": of(1)}}
	if got, ok := c.ratio("a", "b", messageRate); !ok || got != 1.5 {
		t.Errorf("ratio %v, %v; want 1.5", got, ok)
	}
	for _, other := range []string{"short", "none"} {
		if _, ok := c.ratio("a", other, messageRate); ok {
			t.Errorf("a ratio to %s", other)
		}
	}
}

func TestCountCalls(t *testing.T) {
	const table = `% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 71.43    0.000500           5       100           fdatasync
 28.57    0.000200          20        10         1 fsync
------ ----------- ----------- --------- --------- ----------------
100.00    0.000700           6       110         1 total
`
	if n := countCalls(table); n != 110 {
		t.Errorf("%d calls, want 110", n)
	}
}

func TestChoose(t *testing.T) {
	if r, err := choose("idle,start"); err != nil || len(r) != 2 {
		t.Errorf("%v, %v", r, err)
	}
	if _, err := choose("none"); err == nil {
		t.Error("an unknown row was accepted")
	}
}

// The rank-sum test tells distributions apart that differ, and none that are one.
func TestRankSum(t *testing.T) {
	var a, z, later []float64
	for i := range 100 {
		a, z, later = append(a, float64(i%10)), append(z, float64((i+5)%10)), append(later, float64(i%10)+2)
	}
	if got := rankSum(a, z); got < -1e-9 || got > 1e-9 {
		t.Errorf("of the same values: %f", got)
	}
	if got := rankSum(later, a); got < 4 {
		t.Errorf("of greater values: %f", got)
	}
	if got := rankSum([]float64{1, 2, 3}, []float64{4, 5, 6}); got < -1.97 || got > -1.96 { // 4.5 / sqrt(5.25)
		t.Errorf("of three and three: %f", got)
	}
}
