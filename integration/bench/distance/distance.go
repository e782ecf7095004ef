// Package distance is a proxy that stands for a distance: what goes through it arrives later.
package distance

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Proxy holds each octet back for a while, and counts how often the client's side waits for the other.
type Proxy struct {
	Addr string

	ln    net.Listener
	to    string
	by    time.Duration
	turns atomic.Int64
	conns atomic.Int64
}

// Listen makes a proxy to an address, which each octet reaches so much later, either way.
func Listen(to string, by time.Duration) (*Proxy, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{Addr: ln.Addr().String(), ln: ln, to: to, by: by}
	go p.serve()
	return p, nil
}

// Turns is how many round trips there were: how often the client spoke after the server had.
func (p *Proxy) Turns() int64 { return p.turns.Load() }

// Conns is how many connections were made.
func (p *Proxy) Conns() int64 { return p.conns.Load() }

// Close takes no more connections.
func (p *Proxy) Close() error { return p.ln.Close() }

func (p *Proxy) serve() {
	for {
		client, err := p.ln.Accept()
		if err != nil {
			return
		}
		p.conns.Add(1)
		server, err := net.Dial("tcp", p.to)
		if err != nil {
			_ = client.Close()
			continue
		}
		var mu sync.Mutex
		clientsTurn := false
		spoke := func(client bool) {
			mu.Lock()
			defer mu.Unlock()
			if client && !clientsTurn {
				p.turns.Add(1)
			}
			clientsTurn = client
		}
		go p.carry(server, client, func() { spoke(true) })
		go p.carry(client, server, func() { spoke(false) })
	}
}

// carry copies, each piece later.
func (p *Proxy) carry(to, from net.Conn, note func()) {
	type piece struct {
		octets []byte
		at     time.Time
	}
	pieces := make(chan piece, 1024)
	go func() {
		defer close(pieces)
		for {
			b := make([]byte, 32<<10)
			n, err := from.Read(b)
			if n > 0 {
				note()
				pieces <- piece{b[:n], time.Now().Add(p.by)}
			}
			if err != nil {
				return
			}
		}
	}()
	for p := range pieces {
		time.Sleep(time.Until(p.at))
		if _, err := to.Write(p.octets); err != nil {
			break
		}
	}
	_ = to.Close()
	_, _ = io.Copy(io.Discard, from)
}
