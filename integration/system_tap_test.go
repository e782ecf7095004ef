package integration

import (
	"bytes"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// moment is a point of a transaction in clear.
type moment string

const (
	atMAIL moment = "MAIL"        // with the RCPT and DATA that come along
	atDATA moment = "354"         // before any of the message
	atEnd  moment = "end of data" // all of it is on its way, and no reply
)

// tap is a proxy in front of a next hop that does something at a moment of the next transaction that
// passes: before what makes the moment goes on, or, at the end of data, just after that. What the hop replies
// to that end, should it be quicker, the client does not hear.
type tap struct {
	network, address string // of the hop
	listener         net.Listener

	mu     sync.Mutex
	at     moment
	then   func()
	passed chan struct{}
}

func newTap(t testing.TB, network, address string) *tap {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &tap{network: network, address: address, listener: l}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go p.serve(client)
		}
	}()
	return p
}

// arm has then done at the next such moment; the channel closes when it has been.
func (p *tap) arm(at moment, then func()) <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.at, p.then, p.passed = at, then, make(chan struct{})
	return p.passed
}

func (p *tap) reached(at moment) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.then != nil && p.at == at {
		p.then()
		p.then = nil
		close(p.passed)
	}
}

// armed tells whether it is for that moment that something is to be done.
func (p *tap) armed(at moment) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.then != nil && p.at == at
}

func (p *tap) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial(p.network, p.address)
	if err != nil {
		return
	}
	defer server.Close()
	var mute atomic.Bool
	go func() {
		pass(client, server, func(piece []byte) (keep bool) {
			if mute.Load() {
				return false
			}
			if bytes.HasPrefix(piece, []byte("354")) || bytes.Contains(piece, []byte("\n354")) {
				p.reached(atDATA)
			}
			return true
		}, nil)
		_ = client.Close()
		_ = server.Close()
	}()
	ends := func(piece []byte) bool { return bytes.HasSuffix(piece, []byte("\r\n.\r\n")) }
	pass(server, client, func(piece []byte) bool {
		if bytes.HasPrefix(piece, []byte("MAIL")) || bytes.Contains(piece, []byte("\nMAIL")) {
			p.reached(atMAIL)
		}
		if ends(piece) && p.armed(atEnd) {
			mute.Store(true)
		}
		return true
	}, func(piece []byte) {
		if ends(piece) {
			p.reached(atEnd)
		}
	})
}

// pass copies, with a look before and after each piece goes on. What before does not want to be kept does not.
func pass(to io.Writer, from io.Reader, before func([]byte) (keep bool), after func([]byte)) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if !before(buf[:n]) {
				continue
			}
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
			if after != nil {
				after(buf[:n])
			}
		}
		if err != nil {
			return
		}
	}
}
