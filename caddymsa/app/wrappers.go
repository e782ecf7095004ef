package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
)

// loadWrappers loads the listener wrappers, which see the connection before TLS.
func (srv *Server) loadWrappers(ctx caddy.Context) error {
	if srv.ListenerWrappersRaw == nil {
		return nil
	}
	for i, raw := range srv.ListenerWrappersRaw {
		if err := srv.checkWrapper(raw, i == len(srv.ListenerWrappersRaw)-1); err != nil {
			return fmt.Errorf("listener_wrappers: %w", err)
		}
	}
	mods, err := ctx.LoadModule(srv, "ListenerWrappersRaw")
	if err != nil {
		return fmt.Errorf("listener_wrappers: %w", err)
	}
	for _, mod := range mods.([]any) {
		if mod.(caddy.Module).CaddyModule().ID != "caddy.listeners.tls" {
			srv.wrappers = append(srv.wrappers, mod.(caddy.ListenerWrapper))
		}
	}
	return nil
}

// checkWrapper refuses what would open the server to everyone's word about who
// they are, and what would hide TLS from it.
func (srv *Server) checkWrapper(raw json.RawMessage, last bool) error {
	var w struct {
		Wrapper string   `json:"wrapper"`
		Allow   []string `json:"allow"`
	}
	if err := json.Unmarshal(raw, &w); err != nil {
		return err
	}
	switch {
	case w.Wrapper == "tls" && !last:
		return errors.New("wrappers after tls are not possible here; put them before it, and leave tls out")
	case w.Wrapper == "proxy_protocol" && len(w.Allow) == 0:
		for _, na := range srv.addresses {
			if !na.IsUnixNetwork() {
				return errors.New("proxy_protocol: allow is required, else any client could claim any address; name your load balancers, as in allow 192.0.2.0/24")
			}
		}
	}
	return nil
}

// wrappedQueue is a listener of connections that were accepted already: it runs
// one generation's wrappers over an endpoint's clients.
type wrappedQueue struct {
	b      *binding
	conns  chan net.Conn
	closed chan struct{}
}

func newWrappedQueue(b *binding) *wrappedQueue {
	q := &wrappedQueue{b: b, conns: make(chan net.Conn), closed: make(chan struct{})}
	var ln net.Listener = q
	for _, w := range b.srv.wrappers {
		ln = w.WrapListener(ln)
	}
	go q.serve(ln)
	return q
}

func (q *wrappedQueue) serve(ln net.Listener) {
	for {
		nc, err := ln.Accept()
		select {
		case <-q.closed:
			if err == nil { // it came just before the end: it is served all the same
				go q.b.ep.serve(nc, q.b)
				continue
			}
			return
		default:
		}
		if err != nil {
			q.b.srv.log.Error("a listener wrapper refused a connection", zap.Error(err))
			continue
		}
		go q.b.ep.serve(nc, q.b)
	}
}

// put hands over a connection; false when the generation has gone.
func (q *wrappedQueue) put(nc net.Conn) bool {
	select {
	case q.conns <- nc:
		return true
	case <-q.closed:
		return false
	}
}

func (q *wrappedQueue) close() { close(q.closed) }

// Accept implements net.Listener.
func (q *wrappedQueue) Accept() (net.Conn, error) {
	select {
	case nc := <-q.conns:
		return nc, nil
	case <-q.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener. The socket is the endpoint's to close.
func (q *wrappedQueue) Close() error { return nil }

// Addr implements net.Listener.
func (q *wrappedQueue) Addr() net.Addr { return q.b.ep.ln.Addr() }
