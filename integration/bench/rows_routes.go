//go:build linux

package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/caddy-msa/caddy-msa/integration/bench/load"
)

// startRoutes runs the server with routes that end in it.
func (b *bench) startRoutes(name, routes string) starter {
	return func() (*target, error) {
		t, err := b.prepare(name, cheap, func(t *target) string { return b.routesText(t, routes) })
		if err != nil {
			return nil, err
		}
		t.relays, t.delivers = false, true
		_, err = b.launch(t)
		return t, err
	}
}

// perRecipient is the server's CPU time a recipient.
func perRecipient(n int) func(sample) float64 {
	return func(s sample) float64 { return s.cpuPer(s.AllMessages * n) }
}

// routes: a message costs what it costs, however many routes and policies there are for others.
func (b *bench) routes() error {
	const n = 1000
	const route = "@r%d recipient_domain d%d.example\n\t\tdeliver @r%d discard\n\t\t"
	for _, c := range []struct{ what, element string }{
		{"routes by recipient_domain", ""},
		{"policies by recipient_domain", "@p%d recipient_domain d%d.example\n\t\tpolicy @p%d size 10MB\n\t\t"},
		{"policies by user", "@p%d user user%d@example.com\n\t\tpolicy @p%d size 10MB\n\t\t"},
		{"policies by sender_domain", "@p%d sender_domain d%d.example\n\t\tpolicy @p%d size 10MB\n\t\t"},
		{"policies by remote_ip", "@p%d remote_ip 192.0.2.0/24\n\t\tpolicy @p%d size 10MB\n\t\t"},
	} {
		one, all := lines(1, c.element)+"deliver discard", lines(n, c.element)+"deliver discard"
		to := "bob@d0.example"
		if c.element == "" { // the last one takes it
			one, all, to = "deliver discard", lines(n, route), fmt.Sprintf("bob@d%d.example", n-1)
		}
		targets, stop, err := b.startAll(b.startRoutes("1000", all), b.startRoutes("1", one))
		if err == errLeftOut {
			return nil
		}
		if err != nil {
			return err
		}
		r, err := b.contest("routes", targets, load.Options{Clients: 4, Messages: 100, To: to})
		stop()
		if err != nil {
			return err
		}
		b.report.ratio(r, "a message where there are 1,000 "+c.what, "CPU <= 1.1 x that with one", "1000", "1", perRecipient(1), false, 1.1)
	}
	return nil
}

// lanes: what a recipient costs does not grow with the others, nor with the routes.
func (b *bench) lanes() error {
	const route = "@r%d recipient_domain d%d.example\n\t\tdeliver @r%d discard {\n\t\t\tname r%d\n\t\t}\n\t\t"
	targets, stop, err := b.startAll(b.startRoutes("lanes", lines(1000, route)))
	if err == errLeftOut {
		return nil
	}
	if err != nil {
		return err
	}
	defer stop()
	return b.perRecipient("recipients in lanes of their own, 1,000 routes", "CPU of one of 1,000 <= 1.1 x that of one of 100", targets[0], 1.1, func(s sample, n int) float64 {
		return s.cpuPer(s.AllMessages * n)
	})
}

// maildirs: a thousand recipients get theirs at the rate of a hundred.
func (b *bench) maildirs() error {
	targets, stop, err := b.startAll(b.startRoutes("maildirs", "deliver maildir $DIR/mail/{msa.recipient.domain}"))
	if err == errLeftOut {
		return nil
	}
	if err != nil {
		return err
	}
	defer stop()
	return b.perRecipient("recipients with a Maildir each", "time of one of 1,000 <= 1.1 x that of one of 100", targets[0], 1.1, func(s sample, n int) float64 {
		return ms(s.Percentile(load.Total, .5)+s.drain) / float64(n)
	})
}

// perRecipient compares messages to a thousand recipients with such to a hundred.
func (b *bench) perRecipient(work, bar string, t *target, most float64, value func(s sample, n int) float64) error {
	var ratios, costs []float64
	for round := range b.rounds {
		var each [2]float64
		for i, n := range []int{100, 1000} {
			// As many recipients in all.
			s, err := b.measure(t, load.Options{Sessions: 10 * 1000 / n, To: "bob@d%d.example", Recipients: n})
			if err != nil {
				return err
			}
			each[i] = value(s, n)
		}
		progress("%s, round %d of %d: %.1f µs, of 100 %.1f µs", work, round+1, b.rounds, each[1]*1000, each[0]*1000)
		ratios, costs = append(ratios, each[1]/each[0]), append(costs, each[1]*1000)
	}
	b.report.check(work, bar, fmt.Sprintf("%.2f (%.0f µs)", median(ratios), median(costs)), median(ratios) <= most)
	return nil
}

// lines are n of a kind, %d standing for the number.
func lines(n int, format string) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.ReplaceAll(format, "%d", strconv.Itoa(i)))
	}
	return b.String()
}
