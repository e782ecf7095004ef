// Package dnstest is a name server for tests.
package dnstest

import (
	"net"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// Serve answers from records in the form of a zone file, and returns its address. A name that ends in .broken fails. What does not
// fit in a datagram is cut, for the client to ask by TCP.
func Serve(t testing.TB, records ...string) (address string) {
	t.Helper()
	var all []dns.RR
	for _, text := range records {
		rr, err := dns.NewRR(text)
		if err != nil || rr == nil {
			t.Fatalf("%q: %v", text, err)
		}
		all = append(all, rr)
	}
	packets, stream := listen(t)
	for _, server := range []*dns.Server{{PacketConn: packets}, {Listener: stream}} {
		udp := server.PacketConn != nil
		server.Handler = dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
			m := answer(all, q)
			if udp {
				size := dns.MinMsgSize
				if o := q.IsEdns0(); o != nil {
					size = int(o.UDPSize())
				}
				m.Truncate(size)
			}
			_ = w.WriteMsg(m)
		})
		started := make(chan struct{})
		server.NotifyStartedFunc = func() { close(started) }
		go func() { _ = server.ActivateAndServe() }()
		<-started
		t.Cleanup(func() { _ = server.Shutdown() })
	}
	return packets.LocalAddr().String()
}

// listen takes one port for UDP and TCP.
func listen(t testing.TB) (net.PacketConn, net.Listener) {
	t.Helper()
	for {
		packets, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if stream, err := net.Listen("tcp", packets.LocalAddr().String()); err == nil {
			return packets, stream
		}
		_ = packets.Close()
	}
}

func answer(all []dns.RR, q *dns.Msg) *dns.Msg {
	m := new(dns.Msg)
	m.SetReply(q)
	m.RecursionAvailable = true
	question := q.Question[0]
	exists := false
	for _, rr := range all {
		if !strings.EqualFold(rr.Header().Name, question.Name) {
			continue
		}
		exists = true
		if kind := rr.Header().Rrtype; kind == question.Qtype || kind == dns.TypeCNAME {
			m.Answer = append(m.Answer, rr)
		}
	}
	switch {
	case strings.HasSuffix(question.Name, ".broken."):
		m.Rcode = dns.RcodeServerFailure
	case !exists:
		m.Rcode = dns.RcodeNameError
	}
	return m
}
