package integration

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/caddy-msa/caddy-msa/caddymsa/nexthop/hoptest"
)

// manyDomains is a name server in which the mail servers of silent<n>.example are at <network>.1.<n>, and all others
// at <network>.0.1.
func manyDomains(t *testing.T, network string) (address string) {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	started := make(chan struct{})
	server := &dns.Server{PacketConn: conn, NotifyStartedFunc: func() { close(started) }, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg)
		m.SetReply(q)
		name, text := q.Question[0].Name, ""
		switch q.Question[0].Qtype {
		case dns.TypeMX:
			text = name + " 60 IN MX 10 mx." + name
		case dns.TypeA:
			ip, n := network+".0.1", 0
			if _, err := fmt.Sscanf(name, "mx.silent%d.example.", &n); err == nil {
				ip = fmt.Sprintf("%s.1.%d", network, n)
			}
			text = name + " 60 IN A " + ip
		}
		if rr, err := dns.NewRR(text); err == nil && rr != nil {
			m.Answer = append(m.Answer, rr)
		}
		_ = w.WriteMsg(m)
	})}
	go func() { _ = server.ActivateAndServe() }()
	<-started
	t.Cleanup(func() { _ = server.Shutdown() })
	return conn.LocalAddr().String()
}

// mute listens and says nothing.
func mute(t *testing.T, address string) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		var all []net.Conn
		for {
			c, err := l.Accept()
			if err != nil {
				for _, c := range all {
					_ = c.Close()
				}
				return
			}
			all = append(all, c)
		}
	}()
}

// issue 11: of one message to 1,000 recipients in 300 domains, 200 of which have silent servers, the others get it
// within seconds.
func TestManyDomainsSilent(t *testing.T) {
	needRoot(t) // mail servers are at port 25
	t.Parallel()
	for n := range 200 {
		mute(t, fmt.Sprintf("127.77.1.%d:25", n+1))
	}
	hop := hoptest.New(t, func(h *hoptest.Hop) { h.At, h.TLS = "127.77.0.1:25", nil })
	s := start(t, layout{msa: `
	deliver relay {
		mx
		resolver ` + manyDomains(t, "127.77") + `
		tls off
	}`})
	c, err := s.as(s.tlsConfig(), "alice@example.org")
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	if err := c.do("250", "MAIL FROM:<alice@example.org>"); err != nil {
		t.Fatal(err)
	}
	live := 0
	for n := range 1000 {
		domain := fmt.Sprintf("silent%d.example", n%300+1)
		if n%300 >= 200 {
			domain = fmt.Sprintf("live%d.example", n%300)
			live++
		}
		if err := c.do("250", fmt.Sprintf("RCPT TO:<user%d@%s>", n, domain)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.data(letter("to many")); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	s.await("the recipients whose servers answer", func() bool { return len(hop.Said("RCPT")) >= live })
	took := time.Since(began)
	t.Logf("%d recipients of 100 domains had it after %s", live, took.Round(time.Millisecond))
	if took > 50*time.Second { // a greeting may take a minute
		t.Error("that is too long")
	}
	said := map[string]bool{}
	for _, line := range hop.Said("RCPT") {
		if said[line] || strings.Contains(line, "silent") {
			t.Errorf("%s came twice, or to a server of others", line)
		}
		said[line] = true
	}
}
