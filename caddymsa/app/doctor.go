package app

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/app/admin"
	"github.com/caddy-msa/caddy-msa/caddymsa/app/ledger"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// patient is what the doctor looks at of a server.
func (srv *Server) patient() admin.Patient {
	p := admin.Patient{MessageSize: srv.Limits.MessageSize, Connections: srv.Limits.Connections, Proxies: srv.balancers(), Behind: srv.believesThisMachine()}
	add := func(what string, module any) {
		p.Modules = append(p.Modules, admin.Examined{Subject: fmt.Sprintf("server %s: %s", srv.name, what), Module: module})
	}
	for _, r := range srv.allRoutes() {
		add("route "+r.name, plainSink(r.sink))
		if m := mapOf(r.sink); m != nil {
			add("address map of route "+r.name, m)
		}
	}
	for _, c := range srv.Copies {
		add("copy "+c.route.name, plainSink(c.route.sink))
	}
	for _, c := range srv.Notify {
		add("notifier "+c.label, toldPatient{c})
	}
	for _, c := range srv.Policies {
		if _, ok := c.module.(caddymsa.Examiner); ok { // most depend on nothing
			add("policy "+c.name, c.module)
		}
	}
	add("throttle of auth", &srv.Auth.Throttle)
	for _, f := range srv.Certificates {
		certificate, failed := conf.Expand(f.Certificate)
		if key, err := conf.Expand(f.Key); err == nil && failed == nil {
			p.Certificates = append(p.Certificates, admin.CertificateFiles{Certificate: certificate, Key: key})
		}
	}
	return p
}

// mapOf is the address map that a sink is behind, if what it depends on can be looked at; nil if not.
func mapOf(s queue.Sink) caddymsa.Examiner {
	for {
		switch wrapped := s.(type) {
		case *mappedSink:
			m, _ := wrapped.addresses.(caddymsa.Examiner)
			return m
		case *readdressed:
			s = wrapped.sink
		default:
			return nil
		}
	}
}

// toldPatient is a notifier, and how far it was told.
type toldPatient struct{ c *NotifyConfig }

// Examine implements caddymsa.Examiner.
func (f toldPatient) Examine(ctx context.Context, x caddymsa.Examination) []doctor.Finding {
	n := doctor.About("notifiers", x.Subject)
	if examiner, ok := f.c.notifier.(caddymsa.Examiner); ok {
		n.Findings = examiner.Examine(ctx, x)
	}
	for _, s := range notifierStatus() {
		if s.Server != f.c.srv.name || s.Name != f.c.label || !s.Active {
			continue
		}
		switch {
		case s.Down:
			n.Wrong("mend the receiver: it is told from where it was, in order (GET /msa/notify)", "%d events wait, since it does not take them: %s", s.Waiting, s.Error)
		case s.Aside > 0:
			n.Warn("mend the receiver, or correct where it is told; what it refuses is tried again, and given up in the end", "the events of %d messages or users are refused: %s", s.Aside, s.Error)
		}
	}
	return n.Findings
}

// plainSink is a sink without what we put around it.
func plainSink(s queue.Sink) queue.Sink {
	for {
		switch wrapped := s.(type) {
		case *mappedSink:
			s = wrapped.sink
		case *readdressed:
			s = wrapped.sink
		default:
			return s
		}
	}
}

// balancers are the networks that may say who their clients are.
func (srv *Server) balancers() (all []netip.Prefix) {
	for _, w := range srv.wrappers {
		if w.proxy != nil {
			all = append(all, w.proxy.allow...)
		}
	}
	return all
}

// believesThisMachine tells whether a client on this machine is taken for a balancer.
func (srv *Server) believesThisMachine() bool {
	loopback := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}
	return slices.ContainsFunc(srv.wrappers, func(w wrapper) bool { return w.proxy != nil && w.proxy.trusts(loopback) })
}

// left are spools that were left with messages, and that nobody has open.
func (app *App) left() (keys []string) {
	for _, key := range ledger.Remembered() {
		if s, leave := joinStore(key); s != nil {
			leave()
			continue
		}
		keys = append(keys, key)
	}
	return keys
}
