//go:build linux

package main

import (
	"crypto/tls"
	"fmt"
	"net"
	"time"

	"github.com/caddy-msa/caddy-msa/integration/bench/distance"
	"github.com/caddy-msa/caddy-msa/integration/bench/least"
	"github.com/caddy-msa/caddy-msa/integration/bench/load"
)

// hop is a next hop of a row's own.
type hop struct {
	*least.Server
	addr string
	ln   net.Listener
}

func startHop(addr string, o least.Options) (*hop, error) {
	s, err := least.New(o)
	if err != nil {
		return nil, err
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	go func() { _ = s.Serve(ln) }()
	return &hop{s, ln.Addr().String(), ln}, nil
}

// startRelaying runs the server with one route, to addr.
func (b *bench) startRelaying(name, addr, options string) starter {
	return func() (*target, error) {
		t, err := b.prepare(name, cheap, func(t *target) string {
			return b.routesText(t, "deliver relay "+addr+" {\n\t\t\t"+options+"\n\t\t}")
		})
		if err != nil {
			return nil, err
		}
		t.relays = false // not to the common sink
		_, err = b.launch(t)
		return t, err
	}
}

// relay: a message takes two round trips to a hop that is far away. Before there was a client of our own, one
// that came alone had a connection to itself and each command waited for its reply: as it is today with a
// hop that offers nothing and hangs up.
func (b *bench) relay() error {
	pair, err := keyPair(b.cert, b.key)
	if err != nil {
		return err
	}
	secure := least.Options{TLS: &tls.Config{Certificates: []tls.Certificate{pair}}, User: user, Pass: password}
	login := "insecure_skip_verify\n\t\t\tauth " + user + " " + password
	for _, c := range []struct {
		name, options string
		hop           least.Options
		times         float64
	}{
		{"in clear", "tls off", least.Options{}, 3},
		{"with TLS and AUTH", login, secure, 5},
	} {
		work := "single messages to a hop 5 ms away, " + c.name
		old := c.hop
		old.Old = true
		now, before := new(far), new(far)
		for _, f := range []struct {
			*far
			o    least.Options
			name string
		}{{now, c.hop, "caddy-msa"}, {before, old, "command by command"}} {
			if err := f.start(b, f.name, f.o, c.options); err != nil {
				if err == errLeftOut {
					return nil
				}
				return err
			}
			defer f.stop()
		}
		var ratios, turns []float64
		for round := range b.rounds {
			n, t, err := now.singles(b)
			if err != nil {
				return err
			}
			o, _, err := before.singles(b)
			if err != nil {
				return err
			}
			progress("relay %s, round %d of %d: %.1f messages/s with %.2f round trips each, %.1f command by command", c.name, round+1, b.rounds, n, t, o)
			ratios, turns = append(ratios, n/o), append(turns, t)
		}
		b.report.check(work, "2 round trips a message", fmt.Sprintf("%.2f", median(turns)), median(turns) < 2.2)
		b.report.check(work, fmt.Sprintf(">= %.0f x the rate of one connection a message, command by command", c.times), fmt.Sprintf("%.2f x", median(ratios)), median(ratios) >= c.times)
	}
	return nil
}

// far is a server of ours whose hop is far away.
type far struct {
	t     *target
	hop   *hop
	proxy *distance.Proxy
}

func (f *far) start(b *bench, name string, o least.Options, options string) (err error) {
	if f.hop, err = startHop("127.0.0.1:0", o); err != nil {
		return err
	}
	if f.proxy, err = distance.Listen(f.hop.addr, 5*time.Millisecond); err != nil {
		return err
	}
	f.t, err = b.startRelaying(name, f.proxy.Addr, options)()
	return err
}

func (f *far) stop() {
	f.t.stop()
	removeAll(f.t.dir)
	f.proxy.Close()
	f.hop.ln.Close()
}

// singles sends messages one by one, each when the one before has come to the hop, and returns
// how many a second there were and how many round trips each took.
func (f *far) singles(b *bench) (rate, turns float64, err error) {
	const n = 50
	c, err := load.OpenClient(b.ctx, load.Options{Addr: f.t.addr, User: user, Password: password})
	if err != nil {
		return 0, 0, err
	}
	defer c.Close()
	var began time.Time
	var before int64
	for i := range n + 1 {
		if i == 1 { // the first one may have to connect
			began, before = time.Now(), f.proxy.Turns()
		}
		want := f.hop.Messages() + 1
		if err := c.Send(); err != nil {
			return 0, 0, err
		}
		for since := time.Now(); f.hop.Messages() < want; time.Sleep(50 * time.Microsecond) {
			if time.Since(since) > drainQuiet {
				return 0, 0, fmt.Errorf("a message did not come to the hop")
			}
		}
	}
	return n / time.Since(began).Seconds(), float64(f.proxy.Turns()-before) / n, nil
}

// drain: what a hop takes is bounded by how many messages it may have at once.
func (b *bench) drain() error {
	const messages, atOnce, each, share = 100_000, 50, 100 * time.Millisecond, .9
	work := fmt.Sprintf("%d messages for a hop that takes %v each, concurrency %d", messages, each, atOnce)
	addr, err := freeAddr()
	if err != nil {
		return err
	}
	t, err := b.prepare("drain", cheap, func(t *target) string {
		return b.routesText(t, fmt.Sprintf("deliver relay %s {\n\t\t\ttls off\n\t\t\tconcurrency %d\n\t\t}", addr, atOnce))
	})
	if err == errLeftOut {
		return nil
	}
	if err != nil {
		return err
	}
	defer removeAll(t.dir)
	if err := b.fill(t, "bob@d0.example", messages, 1, []string{"relay/" + addr}); err != nil { // the hop is not there yet
		return err
	}
	h, err := startHop(addr, least.Options{Delay: each})
	if err != nil {
		return err
	}
	defer h.ln.Close()
	if _, err := b.launch(t); err != nil {
		return err
	}
	defer t.stop()
	if err := b.sleep(3 * time.Second); err != nil { // the lane begins with two at once
		return err
	}
	before, since := h.Messages(), time.Now()
	if err := b.sleep(2 * b.turn); err != nil {
		return err
	}
	rate, most := float64(h.Messages()-before)/time.Since(since).Seconds(), float64(atOnce)/each.Seconds()
	b.report.check(work, fmt.Sprintf(">= %.0f %% of %.0f/s", share*100, most), fmt.Sprintf("%.0f/s", rate), rate >= share*most)
	return nil
}
