package app

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"runtime/debug"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/crew"
	"github.com/caddy-msa/caddy-msa/caddymsa/smtpd"
)

// endpoints are the sockets of this process by address. They outlive
// configurations, and the sessions on them do.
var endpoints = caddy.NewUsagePool()

// endpoint is a socket with the sessions on it, or where connections are handed over (handed.go). The
// newest binding says what happens to them.
type endpoint struct {
	ln       net.Listener
	bindings stack[*binding]
	accept   sync.Once
	crew     *crew.Crew // sessions and handshakes

	mu    sync.Mutex
	over  chan struct{} // closed with the endpoint
	conns map[*smtpd.Conn]struct{}
	empty chan struct{} // closed when the endpoint is closed and the last session has gone
}

// binding is one generation's server on an endpoint.
type binding struct {
	srv      *Server
	implicit bool // TLS from the first byte
	ep       *endpoint
	key      string
	ipv6Only bool
}

// bind opens the socket, or joins the one that is open. Nothing is accepted
// before push.
func bind(na caddy.NetworkAddress, srv *Server, implicit bool) (*binding, error) {
	b := &binding{srv: srv, implicit: implicit, key: endpointKey(na), ipv6Only: na.Network == "tcp6"}
	ours := holdsPort(na.StartPort)
	v, _, err := endpoints.LoadOrNew(b.key, func() (caddy.Destructor, error) {
		ln, err := listen(na, ours)
		if err != nil {
			return nil, err
		}
		return newEndpoint(ln), nil
	})
	if err != nil {
		return nil, err
	}
	b.ep = v.(*endpoint)
	return b, nil
}

func newEndpoint(ln net.Listener) *endpoint {
	over := make(chan struct{})
	return &endpoint{ln: ln, crew: crew.New(over), over: over, conns: make(map[*smtpd.Conn]struct{}), empty: make(chan struct{})}
}

// push puts the binding in charge.
func (b *binding) push() {
	b.ep.bindings.push(b)
	b.ep.accept.Do(func() { go b.ep.acceptLoop() })
}

// release takes the binding away. The socket closes with the last one, and then
// idle clients get 421.
func (b *binding) release() {
	b.ep.bindings.remove(b)
	_, _ = endpoints.Delete(b.key)
}

// drain ends the endpoints that no other generation holds, as their servers go on serving
// the transactions under way, until those are done or ctx ends. All are shut before any
// is waited for: one client's pause must not keep another's socket open.
func drain(ctx context.Context, bindings []*binding) {
	var shut []*endpoint
	for _, b := range bindings {
		if b.ep.bindings.len() > 1 || b.ep.bindings.top() != b {
			continue
		}
		_ = b.ep.Destruct()
		shut = append(shut, b.ep)
	}
	for _, ep := range shut {
		select {
		case <-ep.empty:
		case <-ctx.Done():
		}
	}
}

// Destruct closes the socket and asks the sessions to end. It may be called again.
func (ep *endpoint) Destruct() error {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	if ep.closed() {
		return nil
	}
	close(ep.over)
	for c := range ep.conns {
		c.Shutdown()
	}
	if len(ep.conns) == 0 {
		close(ep.empty)
	}
	return ep.ln.Close()
}

func (ep *endpoint) closed() bool {
	select {
	case <-ep.over:
		return true
	default:
		return false
	}
}

// Settings is what the server in charge says. It makes the endpoint a backend of
// the engine, with NewSession.
func (ep *endpoint) Settings() *smtpd.Settings {
	if b := ep.bindings.top(); b != nil {
		return b.srv.engine
	}
	return nil
}

// inCharge implements place.
func (ep *endpoint) inCharge() *Server {
	if b := ep.bindings.top(); b != nil {
		return b.srv
	}
	return nil
}

// NewSession begins a client's session.
func (ep *endpoint) NewSession(c *smtpd.Conn) (smtpd.Session, error) {
	s := newSession(ep, c)
	if srv := ep.inCharge(); srv != nil {
		s.standing.begin(srv.name)
	}
	return s, nil
}

// acceptLoop hands each client to the binding in charge. It never waits for one.
func (ep *endpoint) acceptLoop() {
	for pause := time.Duration(0); ; {
		nc, err := ep.ln.Accept()
		if ep.closed() {
			if err == nil {
				_ = nc.Close()
			}
			return
		}
		b := ep.bindings.top()
		switch {
		case err != nil: // out of descriptors, most likely: what is open goes on
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			if b != nil {
				b.srv.log.Error("accepting a connection failed", zap.Error(err), zap.Duration("retry_in", pause))
			}
			time.Sleep(pause)
			continue
		case b == nil:
			_ = nc.Close()
		default:
			ep.crew.Go(func() { ep.serve(&arrival{nc: nc, implicit: b.implicit, wrappers: b.srv.wrappers}, b) })
		}
		pause = 0
	}
}

// serve runs one connection from its first byte to its last.
func (ep *endpoint) serve(a *arrival, b *binding) {
	srv, nc := b.srv, a.nc
	defer func() {
		if p := recover(); p != nil { // a wrapper's; the engine sees to those of sessions
			srv.log.Error("a connection ended by a panic", zap.Any("panic", p), zap.ByteString("stack", debug.Stack()))
			_ = nc.Close()
		}
	}()
	limits := srv.gateLimits()
	balancer := a.isBalancer()
	var network netip.Prefix // none, until a balancer has said whose connection it is
	if !balancer {
		network = caddymsa.ClientNetwork(clientIP(nc.RemoteAddr()))
	}
	v, refused := srv.gate.Enter(network, limits, a.makeRoom)
	if refused != "" {
		a.refuse(nc, srv, clientIP(nc.RemoteAddr()), refused)
		return
	}
	defer v.Leave()
	if len(a.wrappers) > 0 {
		wrapped, err := a.wrap()
		if err != nil {
			if srv.gate.Samples.Stranger(srv.log, "listener wrapper", network) {
				srv.log.Info("a listener wrapper kept a connection", zap.Stringer(fieldRemoteIP, clientIP(nc.RemoteAddr())), zap.Error(err))
			}
			_ = nc.Close()
			return
		}
		nc = wrapped
	}
	if balancer {
		ip := clientIP(nc.RemoteAddr()) // waits for the PROXY header
		if refused := v.Move(caddymsa.ClientNetwork(ip), limits); refused != "" {
			a.refuse(nc, srv, ip, refused)
			return
		}
	}
	c := smtpd.New(nc, ep, a.implicit, smtpd.Options{Authenticated: v.Authenticated, TLS: a.tls, Go: ep.crew.Go})
	if !ep.join(c) {
		_ = nc.Close()
		return
	}
	defer ep.part(c)
	a.begin(c)
	metrics.connections.WithLabelValues(srv.name).Inc()
	c.Serve()
}

// tellRefused tells of a client that was turned away.
func (srv *Server) tellRefused(ip netip.Addr, limit string) {
	if srv.gate.Samples.Stranger(srv.log, "connection refused: "+limit, caddymsa.ClientNetwork(ip)) {
		srv.log.Warn("connection refused", zap.Stringer(fieldRemoteIP, ip), zap.String("limit", limit))
	}
	metrics.refusedConnections.WithLabelValues(srv.name, limit).Inc()
}

// arrival is a connection that may have to make room for others, before it is a session as after.
type arrival struct {
	nc       net.Conn             // as accepted
	implicit bool                 // TLS from the first byte
	tls      *tls.ConnectionState // of a handshake that was made before
	wrappers []wrapper            // that it has to pass

	mu      sync.Mutex
	c       *smtpd.Conn
	leaving bool
}

// refuse turns a client away that is over a limit.
func (a *arrival) refuse(nc net.Conn, srv *Server, ip netip.Addr, limit string) {
	srv.tellRefused(ip, limit)
	if a.implicit { // nothing can be said before the handshake, which would cost what the limit guards
		_ = nc.Close()
		return
	}
	smtpd.Refuse(nc, "Too many connections, try again later")
}

func (a *arrival) makeRoom() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.leaving = true
	if a.c != nil {
		a.c.MakeRoom()
		return
	}
	_ = a.nc.Close()
}

func (a *arrival) begin(c *smtpd.Conn) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.c = c
	if a.leaving {
		c.MakeRoom()
	}
}

func (ep *endpoint) join(c *smtpd.Conn) bool {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	if ep.closed() {
		return false
	}
	ep.conns[c] = struct{}{}
	return true
}

func (ep *endpoint) part(c *smtpd.Conn) {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	delete(ep.conns, c)
	if ep.closed() && len(ep.conns) == 0 {
		close(ep.empty)
	}
}

// clientIP is invalid for what is no IP address, such as a unix socket's peer.
func clientIP(a net.Addr) netip.Addr {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap()
	}
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap()
}
