//go:build linux

package main

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// errLeftOut is of a server that the flags leave out.
var errLeftOut = errors.New("left out")

// caddyfile of ours. The logs stay at their default, as do the queue's workers and
// all limits but those that would keep one address from loading it.
const caddyfile = `{
	admin $ADMIN
	persist_config off
	skip_install_trust
	storage file_system $DIR/caddy

	msa localhost {
		listen $ADDR
		tls    $TLS
		auth {
			mechanisms PLAIN
			file       $DIR/users.passwd
			$AUTH
		}
		$ROUTES
		limits {
			message_size        64MiB
			recipients          $RECIPIENTS
			connections_per_ip  5000
			unauthenticated     5000
			$LIMITS
		}
		spool file $DIR/spool
	}
}
`

// toSink is the route that all mail takes, but in rows about routes.
const toSink = `deliver relay $SINK {
			tls off
		}`

// cheap is the line of the one user in the users file.
const cheap = user + ":{SHA512-CRYPT}" + hash + "\n"

// oursText is the Caddyfile; recipients is what reloads change.
func (b *bench) oursText(t *target, tls, recipients string) string {
	return b.text(t, tls, recipients, "", "", toSink)
}

// routesText is the Caddyfile with other routes, and with policies among them.
func (b *bench) routesText(t *target, routes string) string {
	return b.text(t, b.cert+" "+b.key, "1000", "", "", routes)
}

func (b *bench) text(t *target, tls, recipients, auth, limits, routes string) string {
	text := strings.Replace(caddyfile, "$ROUTES", routes, 1)
	return strings.NewReplacer("$ADMIN", t.admin, "$DIR", t.dir, "$ADDR", t.addr, "$TLS", tls,
		"$SINK", b.sinkAddr, "$RECIPIENTS", recipients, "$AUTH", auth, "$LIMITS", limits).Replace(text)
}

// prepareOurs makes the directory that the server is run in.
func (b *bench) prepareOurs(tls string) (*target, error) {
	if tls == "" {
		tls = b.cert + " " + b.key
	}
	return b.prepare("caddy-msa", cheap, func(t *target) string { return b.oursText(t, tls, "100") })
}

// prepareWith is the same with other users and with more lines in auth and limits.
func (b *bench) prepareWith(name, users, auth, limits string) (*target, error) {
	return b.prepare(name, users, func(t *target) string { return b.text(t, b.cert+" "+b.key, "100", auth, limits, toSink) })
}

func (b *bench) prepare(name, users string, config func(*target) string) (*target, error) {
	if slices.Contains(b.without, "server") {
		return nil, errLeftOut
	}
	t := &target{name: name, relays: true}
	var err error
	if t.dir, err = b.directory("server"); err != nil {
		return nil, err
	}
	if t.addr, err = freeAddr(); err != nil {
		return nil, err
	}
	if t.admin, err = freeAddr(); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(t.dir, "users.passwd"), []byte(users), 0o600); err != nil {
		return nil, err
	}
	return t, os.WriteFile(filepath.Join(t.dir, "Caddyfile"), []byte(config(t)), 0o600)
}

// launch starts what prepareOurs prepared, under the wrapper if there is one, and
// returns how long it took to greet.
func (b *bench) launch(t *target, wrapper ...string) (time.Duration, error) {
	since := time.Now()
	p, err := startProcess(t.dir, append(wrapper, b.caddy, "run", "--config", filepath.Join(t.dir, "Caddyfile"))...)
	if err != nil {
		return 0, err
	}
	took, err := p.greeted(t.addr, since)
	if err != nil {
		p.stop()
		return 0, err
	}
	t.roots = []int{p.cmd.Process.Pid}
	t.stop = p.stop
	return took, nil
}

// startOurs runs the server with the common certificate.
func (b *bench) startOurs() (*target, error) {
	t, err := b.prepareOurs("")
	if err != nil {
		return nil, err
	}
	_, err = b.launch(t)
	return t, err
}

// startLimit runs the least-work server in a process of its own.
func (b *bench) startLimit(store string) (*target, error) {
	if slices.Contains(b.without, "limit") {
		return nil, errLeftOut
	}
	t := &target{name: "limit " + store}
	var err error
	if t.dir, err = b.directory("limit-" + store); err != nil {
		return nil, err
	}
	if t.addr, err = freeAddr(); err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	kept := filepath.Join(t.dir, "store")
	if err := os.Mkdir(kept, 0o700); err != nil {
		return nil, err
	}
	since := time.Now()
	p, err := startProcess(t.dir, self, "serve", "-addr", t.addr, "-cert", b.cert, "-key", b.key, "-store", store, "-dir", kept)
	if err != nil {
		return nil, err
	}
	if _, err := p.greeted(t.addr, since); err != nil {
		p.stop()
		return nil, err
	}
	t.roots = []int{p.cmd.Process.Pid}
	t.stop = p.stop
	t.clean = func() { empty(kept) }
	return t, nil
}

// empty removes a store's messages. The open log of "group" only grows: truncating
// it under the server would make holes.
func empty(dir string) {
	files, _ := os.ReadDir(dir)
	for _, f := range files {
		if f.Name() != "log" {
			os.Remove(filepath.Join(dir, f.Name()))
		}
	}
}
