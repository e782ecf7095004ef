//go:build linux

package main

import (
	"strings"

	"github.com/caddy-msa/caddy-msa/integration/bench/load"
)

// http: the messages of row many by msa_submit, as they are and as JSON, beside SMTP. Each request logs in anew.
func (b *bench) http() error {
	const work = "POST of 4 KiB, 16 clients that keep their connections"
	targets, stop, err := b.startAll(b.startOurs, func() (*target, error) { return b.startWeb("by HTTP", false) }, func() (*target, error) { return b.startWeb("as JSON", true) })
	if err != nil {
		return err
	}
	defer stop()
	c, err := b.contest("http", targets, load.Options{Clients: 16, Messages: 100})
	if err != nil {
		return err
	}
	b.report.ratio(c, work, ">= 0.50 of SMTP", "by HTTP", "caddy-msa", messageRate, true, .5)
	b.report.ratio(c, work+", as JSON", ">= 0.40 of SMTP", "as JSON", "caddy-msa", messageRate, true, .4)
	return nil
}

// startWeb is our server with a web site.
func (b *bench) startWeb(name string, json bool) (*target, error) {
	web, err := freeAddr()
	if err != nil {
		return nil, err
	}
	t, err := b.prepare(name, cheap, func(t *target) string {
		text := strings.Replace(b.oursText(t, b.cert+" "+b.key, "100"), "skip_install_trust", "skip_install_trust\n\tauto_https disable_redirects", 1)
		_, port, _ := strings.Cut(web, ":")
		return text + "https://localhost:" + port + " {\n\tbind 127.0.0.1\n\ttls " + b.cert + " " + b.key + "\n\thandle /send/* {\n\t\tmsa_submit localhost\n\t}\n}\n"
	})
	if err != nil {
		return nil, err
	}
	t.web, t.json = web, json
	_, err = b.launch(t)
	return t, err
}
