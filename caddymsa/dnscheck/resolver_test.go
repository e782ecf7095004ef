package dnscheck

import (
	"net"
	"sync/atomic"
	"testing"

	"github.com/miekg/dns"

	"github.com/caddy-msa/caddy-msa/caddymsa/dnscheck/dnstest"
)

// A name server that is of no use is asked once, and not before each answer of another: it may cost seconds.
func TestServerThatAnswers(t *testing.T) {
	packets, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer packets.Close()
	var asked atomic.Int32
	go func() {
		b := make([]byte, 1<<10)
		for {
			n, from, err := packets.ReadFrom(b)
			if err != nil {
				return
			}
			asked.Add(1)
			q := new(dns.Msg)
			if q.Unpack(b[:n]) != nil {
				continue
			}
			answer, _ := new(dns.Msg).SetRcode(q, dns.RcodeServerFailure).Pack()
			_, _ = packets.WriteTo(answer, from)
		}
	}()
	r := &Resolver{servers: []string{packets.LocalAddr().String(), dnstest.Serve(t, `a.example. TXT "hello"`)}, timeout: questionTimeout}
	for range 3 {
		if texts, err := r.TXT(t.Context(), "a.example"); err != nil || len(texts) != 1 {
			t.Error(texts, err)
		}
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
	if _, err := r.TXT(t.Context(), "a.broken"); err == nil || asked.Load() != 2 {
		t.Error("the other one is not asked where this one does not answer:", err)
	}
}
