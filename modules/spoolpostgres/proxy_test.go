//go:build linux

package spoolpostgres

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/postgres"
)

// proxy is between a node and the server.
type proxy struct {
	listener net.Listener
	to       *postgres.Database
	mu       sync.Mutex
	conns    map[net.Conn]bool
	cut      bool
	// commit says what to do with a COMMIT: 0 nothing, 'b' cuts the connection before the server has it, 'a' after it was done.
	commit atomic.Pointer[func() byte]
}

func newProxy(t testing.TB, to *postgres.Database) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, to: to, conns: make(map[net.Conn]bool)}
	t.Cleanup(func() { _ = l.Close(); p.set(true) })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go p.serve(c)
		}
	}()
	return p
}

func (p *proxy) onCommit(f func() byte) { p.commit.Store(&f) }

// uncertain cuts the COMMIT that comes once it is armed, before or after the server has it ('b' or 'a'), and all else with it: nobody can
// be asked what became of it.
func (p *proxy) uncertain(when byte) (armed *atomic.Bool) {
	armed = new(atomic.Bool)
	p.onCommit(func() byte {
		if !armed.Swap(false) {
			return 0
		}
		go p.set(true)
		return when
	})
	return armed
}

func (p *proxy) dsn() string {
	return p.to.Through(p.listener.Addr().(*net.TCPAddr).Port)
}

// set cuts all connections and refuses new ones, or no longer.
func (p *proxy) set(cut bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cut = cut; cut {
		for c := range p.conns {
			_ = c.Close()
		}
	}
}

func (p *proxy) serve(client net.Conn) {
	defer client.Close()
	p.mu.Lock()
	cut := p.cut
	p.mu.Unlock()
	if cut { // the server has no part in that
		return
	}
	server, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", p.to.Port))
	if err != nil {
		return
	}
	defer server.Close()
	p.mu.Lock()
	if p.cut {
		p.mu.Unlock()
		return
	}
	p.conns[client], p.conns[server] = true, true
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.conns, client)
		delete(p.conns, server)
		p.mu.Unlock()
	}()
	var after sync.Once
	mute := make(chan struct{})
	go func() {
		defer client.Close()
		buf := make([]byte, 64<<10)
		for {
			n, err := server.Read(buf)
			if err != nil {
				return
			}
			select {
			case <-mute: // the server has done it, and says so
				return
			default:
			}
			if _, err := client.Write(buf[:n]); err != nil {
				return
			}
		}
	}()
	buf := make([]byte, 64<<10)
	for {
		n, err := client.Read(buf)
		if err != nil {
			return
		}
		if commit := p.commit.Load(); commit != nil && isCommit(buf[:n]) {
			switch (*commit)() {
			case 'b':
				return
			case 'a':
				after.Do(func() { close(mute) })
			}
		}
		if _, err := server.Write(buf[:n]); err != nil {
			return
		}
	}
}

// isCommit tells whether a client sends COMMIT, as text (whose message of 11 octets is not the setting synchronous_commit of a startup) or as the statement that pgx has prepared for it.
func isCommit(sent []byte) bool {
	sum := sha256.Sum256([]byte("commit"))
	return bytes.Contains(sent, []byte("\x0bcommit\x00")) || bytes.Contains(sent, []byte("stmtcache_"+hex.EncodeToString(sum[:24])))
}
