//go:build linux

package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/caddy-msa/caddy-msa/integration/bench/load"
)

// journal: what the journal costs a message that is accepted and delivered. The same server runs with it and without
// it, in turns that are short and many: what it costs is less than what a machine does from one second to the next.
func (b *bench) journal() error {
	turn, rounds := b.turn, b.rounds
	defer func() { b.turn, b.rounds = turn, rounds }()
	b.turn, b.rounds = turn/2, 4*rounds

	if err := b.journalOn("spool file", func(text string) string { return text }, nil); err != nil {
		return err
	}
	d, err := b.startDatabase()
	if err == errNoDatabase {
		b.report.skip(journalWork("spool postgres"), journalBar, err.Error())
		return nil
	}
	if err != nil {
		return err
	}
	defer d.stop()
	return b.journalOn("spool postgres", d.spool, d)
}

const journalBar = ">= 0.90 of the same without a journal"

func journalWork(spool string) string {
	return "accepted and delivered with a journal, " + spool + ", 4 KiB, 16 clients"
}

// journalOn compares on one kind of spool; the processor time of its database counts.
func (b *bench) journalOn(spool string, in func(string) string, d *database) error {
	starter := func(name, setting string) starter {
		return func() (*target, error) {
			t, err := b.prepare(name, cheap, func(t *target) string {
				text := b.oursText(t, b.cert+" "+b.key, "100")
				text = strings.Replace(text, "spool file "+t.dir+"/spool", "spool file "+t.dir+"/spool"+setting, 1)
				return strings.ReplaceAll(in(text), "$NODE", name)
			})
			if err != nil {
				return nil, err
			}
			if _, err := b.launch(t); err != nil {
				return nil, err
			}
			if d != nil {
				t.roots = append(t.roots, d.pid)
			}
			return t, nil
		}
	}
	targets, stop, err := b.startAll(starter("with", ""), starter("without", "\n\t\tjournal off"))
	if errors.Is(err, errLeftOut) {
		return nil
	}
	if err != nil {
		return err
	}
	defer stop()
	c, err := b.contest("journal, "+spool, targets, load.Options{Clients: 16, Messages: 100})
	if err != nil {
		return err
	}
	work := journalWork(spool)
	b.report.ratio(c, work, journalBar, "with", "without", throughRate, true, .9)
	b.report.ratio(c, work, "CPU a message <= 1/0.90", "with", "without", func(s sample) float64 { return s.cpuPer(s.AllMessages) }, false, 1/.9)
	b.report.note("%s: %.0f messages/s delivered with a journal, %.0f/s without; CPU %.3f and %.3f ms a message.", spool,
		field(c.samples["with"], throughRate), field(c.samples["without"], throughRate),
		field(c.samples["with"], func(s sample) float64 { return s.cpuPer(s.AllMessages) }),
		field(c.samples["without"], func(s sample) float64 { return s.cpuPer(s.AllMessages) }))
	return nil
}

// throughRate is of messages that were accepted and delivered, from the first client's first octet to the last delivery.
func throughRate(s sample) float64 {
	if took := warmup + s.Elapsed + s.drain; took > 0 {
		return float64(s.AllMessages) / took.Seconds()
	}
	return 0
}

// spool has a configuration's spool in a schema of the database, the node's own.
func (d *database) spool(text string) string {
	before, rest, _ := strings.Cut(text, "spool file ")
	_, after, _ := strings.Cut(rest, "\n")
	return fmt.Sprintf("%sspool postgres %s {\n\t\t\tschema journal_$NODE\n\t\t\tnode $NODE\n\t\t}\n%s", before, d.dsn, after)
}
