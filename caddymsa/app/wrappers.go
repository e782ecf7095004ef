package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
)

// loadWrappers loads the listener wrappers, which see the connection before TLS.
func (srv *Server) loadWrappers(ctx caddy.Context) error {
	if srv.ListenerWrappersRaw == nil {
		return nil
	}
	rules := make([]*proxyRules, len(srv.ListenerWrappersRaw))
	for i, raw := range srv.ListenerWrappersRaw {
		var err error
		if rules[i], err = srv.checkWrapper(raw, i == len(srv.ListenerWrappersRaw)-1); err != nil {
			return fmt.Errorf("listener_wrappers: %w", err)
		}
	}
	mods, err := ctx.LoadModule(srv, "ListenerWrappersRaw")
	if err != nil {
		return fmt.Errorf("listener_wrappers: %w", err)
	}
	for i, mod := range mods.([]any) {
		if mod.(caddy.Module).CaddyModule().ID != "caddy.listeners.tls" {
			srv.wrappers = append(srv.wrappers, wrapper{mod.(caddy.ListenerWrapper), rules[i]})
		}
	}
	return nil
}

// wrapper is a listener wrapper; proxy is nil for all but proxy_protocol.
type wrapper struct {
	caddy.ListenerWrapper
	proxy *proxyRules
}

// checkWrapper refuses what would have the server believe anyone's word about who
// they are, and what would hide TLS from it.
func (srv *Server) checkWrapper(raw json.RawMessage, last bool) (*proxyRules, error) {
	var w struct {
		Wrapper string `json:"wrapper"`
	}
	if err := json.Unmarshal(raw, &w); err != nil {
		return nil, err
	}
	if w.Wrapper == "tls" && !last {
		return nil, errors.New("wrappers after tls are not possible here; put them before it, and leave tls out")
	}
	rules, err := parseProxyRules(raw)
	if err != nil || rules == nil {
		return nil, err
	}
	for _, na := range srv.addresses {
		if !na.IsUnixNetwork() {
			return rules, rules.check()
		}
	}
	return rules, nil
}

// wrap runs the wrappers over one connection, each on a listener that has nothing else: which
// connection came of which is then known, and a wrapper that fails harms that one only. With
// proxy_protocol it may wait for the header.
func (a *arrival) wrap() (net.Conn, error) {
	peer := a.nc.RemoteAddr()
	var ln net.Listener = &oneConn{nc: a.nc}
	for _, w := range a.wrappers {
		if w.proxy != nil && !w.proxy.trusts(peer) {
			ln = unproxied{ln, w.proxy.policy(peer)}
			continue
		}
		ln = w.WrapListener(ln)
	}
	wrapped, err := ln.Accept()
	if err != nil {
		return nil, err
	}
	return wrappedConn{wrapped, a.nc}, nil
}

// isBalancer tells whether the peer may say who its client is.
func (a *arrival) isBalancer() bool {
	return slices.ContainsFunc(a.wrappers, func(w wrapper) bool { return w.proxy != nil && w.proxy.trusts(a.nc.RemoteAddr()) })
}

// oneConn is a listener of one connection.
type oneConn struct {
	nc    net.Conn
	taken atomic.Bool
}

// Accept implements net.Listener.
func (l *oneConn) Accept() (net.Conn, error) {
	if l.taken.Swap(true) {
		return nil, net.ErrClosed
	}
	return l.nc, nil
}

// Close implements net.Listener.
func (l *oneConn) Close() error { return nil }

// Addr implements net.Listener.
func (l *oneConn) Addr() net.Addr { return l.nc.LocalAddr() }

// wrappedConn can be half closed, which wrappers forget.
type wrappedConn struct {
	net.Conn
	raw net.Conn
}

// CloseWrite says that nothing more will be sent.
func (c wrappedConn) CloseWrite() error {
	half, ok := c.raw.(interface{ CloseWrite() error })
	if !ok {
		return errors.ErrUnsupported
	}
	return half.CloseWrite()
}
