//go:build linux

package main

import (
	"strings"

	"github.com/caddy-msa/caddy-msa/integration/bench/load"
)

// log: what the lines of the log cost on a message's way, end to end. Two of the same server take turns; one
// writes its log as it does by default, here to a file, and the other nothing below ERROR.
func (b *bench) log() error {
	for _, c := range []struct {
		work string
		load load.Options
	}{
		{"the log: 100 messages of 4 KiB a session, 16 clients", load.Options{Clients: 16, Messages: 100}},
		{"the log: a session for each message of 4 KiB, 16 clients", load.Options{Clients: 16}},
	} {
		targets, stop, err := b.startAll(b.startLogging("log to a file", ""), b.startLogging("no log", "log {\n\t\tlevel ERROR\n\t}"))
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
		b.report.ratio(r, c.work, "rate >= 0.95 of that without", "log to a file", "no log", messageRate, true, .95)
		b.report.ratio(r, c.work, "server CPU of a message <= 1.05 x that without", "log to a file", "no log",
			func(s sample) float64 { return s.cpuPer(s.AllMessages) }, false, 1.05)
	}
	return nil
}

// startLogging runs the server with a log option of Caddy.
func (b *bench) startLogging(name, option string) starter {
	return func() (*target, error) {
		t, err := b.prepare(name, cheap, func(t *target) string {
			return strings.Replace(b.oursText(t, b.cert+" "+b.key, "100"), "skip_install_trust", "skip_install_trust\n\t"+option, 1)
		})
		if err != nil {
			return nil, err
		}
		_, err = b.launch(t)
		return t, err
	}
}
