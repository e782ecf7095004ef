//go:build linux

package main

import (
	"strings"

	"github.com/caddy-msa/caddy-msa/integration/bench/load"
)

// log: what the lines of the log cost on a message's way, end to end. Three of the same server take turns: one writes its
// log as it does by default, here to a file; one has it buffered; one writes nothing below ERROR.
func (b *bench) log() error {
	const plain, buffered, none = "log to a file", "log, buffered", "no log"
	for _, c := range []struct {
		work string
		load load.Options
	}{
		{"100 messages of 4 KiB a session, 16 clients", load.Options{Clients: 16, Messages: 100}},
		{"a session for each message of 4 KiB, 16 clients", load.Options{Clients: 16}},
	} {
		targets, stop, err := b.startAll(b.startLogging(plain, "log {\n\t\toutput file $DIR/log\n\t}"),
			b.startLogging(buffered, "log {\n\t\toutput buffered {\n\t\t\twrap file $DIR/log\n\t\t}\n\t}"),
			b.startLogging(none, "log {\n\t\tlevel ERROR\n\t}"))
		if err == errLeftOut {
			return nil
		}
		if err != nil {
			return err
		}
		r, err := b.contest("log", targets, c.load)
		stop()
		if err != nil {
			return err
		}
		cpu := func(s sample) float64 { return s.cpuPer(s.AllMessages) }
		b.report.ratio(r, buffered+": "+c.work, "rate >= 0.95 of that without", buffered, none, messageRate, true, .95)
		b.report.ratio(r, buffered+": "+c.work, "server CPU of a message <= 1.05 x that without", buffered, none, cpu, false, 1.05)
		// A write for each line is what the operator chooses who wants each line on disk at once.
		b.report.figure(r, plain+": "+c.work, "rate by that without", plain, none, messageRate)
		b.report.figure(r, plain+": "+c.work, "server CPU of a message by that without", plain, none, cpu)
	}
	return nil
}

// startLogging runs the server with a log option of Caddy.
func (b *bench) startLogging(name, option string) starter {
	return func() (*target, error) {
		t, err := b.prepare(name, cheap, func(t *target) string {
			return strings.Replace(b.oursText(t, b.cert+" "+b.key, "100"), "skip_install_trust", "skip_install_trust\n\t"+strings.ReplaceAll(option, "$DIR", t.dir), 1)
		})
		if err != nil {
			return nil, err
		}
		_, err = b.launch(t)
		return t, err
	}
}
