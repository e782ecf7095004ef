package app

import (
	"context"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
	"github.com/caddy-msa/caddy-msa/caddymsa/notify"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue/queuetest"
)

func init() {
	caddy.RegisterModule(new(measuredSpool))
	caddy.RegisterModule(new(fakeNotifier))
}

// measures are what a spool says of itself.
type measures struct {
	free, reserve int64
	engine        queue.Engine
	damaged       int
	waiting       int
	since         time.Time
	dropped       int64
}

// measuredSpool is the world's usual one, which has all measures.
type measuredSpool struct{ memorySpool }

func (*measuredSpool) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "msa.spools.measured", New: func() caddy.Module { return new(measuredSpool) }}
}

func (m *measuredSpool) Open(ctx context.Context, log *zap.Logger) (queue.OpenSpool, error) {
	disk := m.world().disk(m.Disk)
	disk.Reopen()
	return measuredDisk{disk, m.world()}, nil
}

type measuredDisk struct {
	*queuetest.MemSpool
	w *world
}

func (d measuredDisk) measures() measures {
	d.w.mu.Lock()
	defer d.w.mu.Unlock()
	return d.w.measures
}

func (d measuredDisk) Room() (free, total, reserve int64, err error) {
	m := d.measures()
	return m.free, 2 * m.free, m.reserve, nil
}

func (d measuredDisk) Engine() queue.Engine { return d.measures().engine }
func (d measuredDisk) Damaged() int         { return d.measures().damaged }

func (d measuredDisk) Stat(ctx context.Context) (journal.Stat, error) {
	stat, err := d.MemSpool.Stat(ctx)
	m := d.measures()
	stat.Waiting, stat.Since, stat.Dropped = m.waiting, m.since, m.dropped
	return stat, err
}

// fakeNotifier says what its world says.
type fakeNotifier struct{ outside }

func (*fakeNotifier) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "msa.notifiers.fake", New: func() caddy.Module { return new(fakeNotifier) }}
}

func (n *fakeNotifier) Notify(context.Context, *notify.Event) error {
	w := n.world()
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.notify
}

func (*fakeNotifier) Receiver() (key, label string) { return "fake", "fake" }

// sample is a number of a scrape.
type sample struct {
	name   string // with _count of a histogram
	labels map[string]string
	value  float64
}

// scrape is what the metrics endpoint would say.
func scrape(t testing.TB) (all []sample) {
	t.Helper()
	reg := prometheus.NewRegistry()
	if err := registerMetrics(reg); err != nil {
		t.Fatal(err)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			s := sample{name: f.GetName(), labels: make(map[string]string)}
			for _, l := range m.GetLabel() {
				s.labels[l.GetName()] = l.GetValue()
			}
			switch {
			case m.GetCounter() != nil:
				s.value = m.GetCounter().GetValue()
			case m.GetGauge() != nil:
				s.value = m.GetGauge().GetValue()
			case m.GetHistogram() != nil:
				s.name += "_count"
				s.value = float64(m.GetHistogram().GetSampleCount())
			}
			all = append(all, s)
		}
	}
	return all
}

// sum adds up what has these labels, in pairs of name and value. found tells whether anything has.
func sum(all []sample, name string, labels ...string) (v float64, found bool) {
	for _, s := range all {
		ok := s.name == name
		for i := 0; i+1 < len(labels); i += 2 {
			ok = ok && s.labels[labels[i]] == labels[i+1]
		}
		if ok {
			v += s.value
			found = true
		}
	}
	return v, found
}

var fqName = regexp.MustCompile(`fqName: "([^"]*)"`)

// describedMetrics are the names of all metrics that there are.
func describedMetrics() []string {
	names := make(map[string]bool)
	for _, c := range collectors() {
		descriptions := make(chan *prometheus.Desc)
		go func() { c.Describe(descriptions); close(descriptions) }()
		for d := range descriptions {
			names[fqName.FindStringSubmatch(d.String())[1]] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// deposit puts a message into the spool that was accepted long ago.
func (in *instance) deposit(id, held string, accepted time.Time, lane string) {
	in.t.Helper()
	d, err := in.mail.spool.Create(context.Background())
	if err != nil {
		in.t.Fatal(err)
	}
	defer d.Abort()
	e := &queue.Entry{ID: id, Server: "main", Accepted: accepted, Sender: "alice@example.org", ReturnPath: true, User: "alice@example.org", Size: 4,
		Recipients: []queue.Recipient{{Address: "bob@example.net"}}}
	j := queue.NewJob(e)
	j.Lane, j.Due = lane, time.Now().Add(time.Hour)
	if _, err := d.Write([]byte("body")); err != nil {
		in.t.Fatal(err)
	}
	if err := d.Commit(context.Background(), &queue.Accept{Entry: e, Jobs: []queue.Job{j}, Held: held, Facts: []journal.Fact{e.AcceptedFact()}}); err != nil {
		in.t.Fatal(err)
	}
}

// noAddress refuses what looks like an address or a user in a label.
func noAddress(t *testing.T, all []sample) {
	t.Helper()
	for _, s := range all {
		for label, v := range s.labels {
			if strings.Contains(v, "@") || strings.Contains(v, "alice") || strings.Contains(v, "bob") {
				t.Errorf("%s{%s=%q} names somebody", s.name, label, v)
			}
		}
	}
}
