package app

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// scrapeTimeout bounds what a scrape asks of a spool: one that is out of touch must not keep the other metrics, least
// of all the one that says so. Prometheus waits 10 s unless told otherwise.
const scrapeTimeout = 4 * time.Second

// spoolCollector says how much lies in the spools that are open.
type spoolCollector struct{}

func spoolDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("caddy_msa_"+name, help, append([]string{"spool"}, labels...), nil)
}

var (
	spoolUp       = spoolDesc("spool_up", "1 if the spool answers, and 0 if it does not.")
	spoolMessages = spoolDesc("spool_messages", "Messages in the spool, those that are held or dead letters included.")
	spoolOctets   = spoolDesc("spool_octets", "Octets of the messages in the spool.")
	spoolDamaged  = spoolDesc("spool_damaged_messages", "Messages of the spool that cannot be read whole, those that were set aside included.")
	spoolDraining = spoolDesc("spool_draining_messages", "Messages left in a spool that a former configuration used.")
	spoolFree     = spoolDesc("spool_free_octets", "Octets that are free on the spool's disk.")
	spoolReserve  = spoolDesc("spool_reserve_octets", "Free octets below which messages are refused.")

	queueMessages = spoolDesc("queue_messages", "Messages in the spool, by state: queued, held or dead.", "state")
	queueNextDue  = spoolDesc("queue_next_due_seconds", "Time until the next job is due; 0 if one is.")

	engineUp       = spoolDesc("spool_engine_up", "1 if this node is in touch with the engine of the spool, such as its database, and 0 if not.")
	engineConns    = spoolDesc("spool_engine_connections", "Connections to the engine, by pool and state: used, idle or opening.", "pool", "state")
	engineMax      = spoolDesc("spool_engine_connections_max", "The most connections that a pool has.", "pool")
	engineWaits    = spoolDesc("spool_engine_waits_total", "How often a connection of a pool had to be waited for.", "pool")
	engineWaitTime = spoolDesc("spool_engine_wait_seconds_total", "How long connections of a pool were waited for.", "pool")

	journalFacts   = spoolDesc("journal_facts", "Facts in the journal.")
	journalOctets  = spoolDesc("journal_octets", "Octets that the journal takes.")
	journalOldest  = spoolDesc("journal_oldest_seconds", "Age of the oldest fact in the journal.")
	journalLag     = spoolDesc("journal_lag_seconds", "Age of the oldest fact that waits to be written.")
	journalWaiting = spoolDesc("journal_waiting", "Facts that wait to be written.")
	journalDropped = spoolDesc("journal_dropped_total", "Facts that were not kept, since their part of the journal was used up.")
)

// Describe implements prometheus.Collector.
func (spoolCollector) Describe(descriptions chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{spoolUp, spoolMessages, spoolOctets, spoolDamaged, spoolDraining, spoolFree, spoolReserve,
		queueMessages, queueNextDue, engineUp, engineConns, engineMax, engineWaits, engineWaitTime,
		journalFacts, journalOctets, journalOldest, journalLag, journalWaiting, journalDropped,
		queueOldest, laneWaiting, lanesByState, laneUp, laneJobs, laneOldest} {
		descriptions <- d
	}
}

// Collect implements prometheus.Collector. All spools are asked at the same time.
func (spoolCollector) Collect(values chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	var asked sync.WaitGroup
	stores.Range(func(_, v any) bool {
		if s, ok := v.(*store); ok {
			asked.Go(func() { s.collect(ctx, values) })
		}
		return true
	})
	asked.Wait()
}

// gauges makes metrics of one spool, until it is closed: a spool that does not heed the context
// answers after the scrape is over.
type gauges struct {
	spool string
	mu    sync.Mutex
	all   []prometheus.Metric
}

func (g *gauges) set(d *prometheus.Desc, value float64, labels ...string) {
	g.add(d, prometheus.GaugeValue, value, labels...)
}

func (g *gauges) add(d *prometheus.Desc, kind prometheus.ValueType, value float64, labels ...string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.all = append(g.all, prometheus.MustNewConstMetric(d, kind, value, append([]string{g.spool}, labels...)...))
}

// take is what there is by now.
func (g *gauges) take() []prometheus.Metric {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.all)
}

// collect asks one spool.
func (s *store) collect(ctx context.Context, values chan<- prometheus.Metric) {
	g, up := &gauges{spool: s.key}, 0.0
	answered := make(chan bool, 1)
	go func() {
		ok := false
		_ = queue.Guarded(s.log, func() error { ok = s.measure(ctx, g); return nil })
		answered <- ok
	}()
	select {
	case ok := <-answered:
		if ok {
			up = 1
		}
	case <-ctx.Done():
	}
	for _, m := range g.take() {
		values <- m
	}
	values <- prometheus.MustNewConstMetric(spoolUp, prometheus.GaugeValue, up, s.key)
}

// measure is all that there is to say of a spool. What is known without asking its engine comes first.
func (s *store) measure(ctx context.Context, g *gauges) (ok bool) {
	if e, is := s.spool.(queue.EngineTeller); is {
		g.engine(e.Engine())
	}
	if r, is := s.spool.(queue.Roomy); is {
		if free, _, reserve, err := r.Room(); err == nil {
			g.set(spoolFree, float64(free))
			g.set(spoolReserve, float64(reserve))
		}
	}
	if d, is := s.spool.(queue.DamageCounter); is {
		g.set(spoolDamaged, float64(d.Damaged()))
	}
	messages, octets, err := s.spool.Size(ctx)
	if err != nil {
		return false
	}
	g.set(spoolMessages, float64(messages))
	g.set(spoolOctets, float64(octets))
	if s.draining() {
		g.set(spoolDraining, float64(messages))
	}
	s.tally(ctx, g, messages)
	s.lanes(ctx, g)
	s.facts(ctx, g)
	return true
}

func (s *store) tally(ctx context.Context, g *gauges, messages int) {
	t, is := s.spool.(queue.Tallier)
	if !is {
		return
	}
	n, err := t.Tally(ctx)
	if err != nil {
		return
	}
	g.set(queueMessages, float64(max(0, messages-n.Held-n.Dead)), "queued") // they were counted one after the other
	g.set(queueMessages, float64(n.Held), "held")
	g.set(queueMessages, float64(n.Dead), "dead")
	if !n.Next.IsZero() {
		g.set(queueNextDue, max(0, time.Until(n.Next).Seconds()))
	}
}

func (g *gauges) engine(e queue.Engine) {
	up := 0.0
	if e.Up {
		up = 1
	}
	g.set(engineUp, up)
	for _, p := range e.Pools {
		g.set(engineConns, float64(p.Used), p.Name, "used")
		g.set(engineConns, float64(p.Idle), p.Name, "idle")
		g.set(engineConns, float64(p.Opening), p.Name, "opening")
		g.set(engineMax, float64(p.Max), p.Name)
		g.add(engineWaits, prometheus.CounterValue, float64(p.Waits), p.Name)
		g.add(engineWaitTime, prometheus.CounterValue, p.Waited.Seconds(), p.Name)
	}
}

func (s *store) facts(ctx context.Context, g *gauges) {
	j, is := s.spool.(journal.Journal)
	if !is {
		return
	}
	stat, err := j.Stat(ctx)
	if err != nil {
		return
	}
	g.set(journalFacts, float64(stat.Facts))
	g.set(journalOctets, float64(stat.Octets))
	g.set(journalOldest, age(stat.Oldest))
	g.set(journalLag, age(stat.Since))
	g.set(journalWaiting, float64(stat.Waiting))
	g.add(journalDropped, prometheus.CounterValue, float64(stat.Dropped))
}

// age is how long ago something was, in seconds; 0 for what never was.
func age(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return max(0, time.Since(t).Seconds())
}
