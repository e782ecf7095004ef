package sinkrelay

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
	"github.com/caddy-msa/caddy-msa/caddymsa/nexthop"
	"github.com/caddy-msa/caddy-msa/caddymsa/nexthop/hoptest"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// startDNS is a name server for records in zone file format. It fails for names that end in broken.
func startDNS(t *testing.T, records ...string) (address string) {
	t.Helper()
	var all []dns.RR
	for _, text := range records {
		rr, err := dns.NewRR(text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, rr)
	}
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	started := make(chan struct{})
	server := &dns.Server{PacketConn: conn, NotifyStartedFunc: func() { close(started) }, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg)
		m.SetReply(q)
		m.RecursionAvailable = true
		question := q.Question[0]
		exists := false
		for _, rr := range all {
			if strings.EqualFold(rr.Header().Name, question.Name) {
				exists = true
				if rr.Header().Rrtype == question.Qtype {
					m.Answer = append(m.Answer, rr)
				}
			}
		}
		switch {
		case strings.HasSuffix(question.Name, ".broken."):
			m.Rcode = dns.RcodeServerFailure
		case !exists:
			m.Rcode = dns.RcodeNameError
		}
		_ = w.WriteMsg(m)
	})}
	go func() { _ = server.ActivateAndServe() }()
	<-started
	t.Cleanup(func() { _ = server.Shutdown() })
	return conn.LocalAddr().String()
}

// mxRelay delivers to mail exchangers that listen on a hop's port.
func mxRelay(t *testing.T, h *hoptest.Hop, resolver string) *Relay {
	t.Helper()
	r := &Relay{MX: true, Resolver: resolver}
	if err := r.Provision(caddyContext); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Cleanup() })
	_, r.mx.port, _ = net.SplitHostPort(h.Addr)
	return r
}

// RFC 5321 section 5.1: hosts in the order of their preference, the domain itself where there is no MX;
// RFC 7505: null MX; what DNS does not know fails for good, what it fails to say is tried again.
func TestMX(t *testing.T) {
	h := hoptest.New(t, nil)
	r := mxRelay(t, h, startDNS(t,
		"a.example. MX 20 up.a.example.", "a.example. MX 10 down.a.example.", "down.a.example. A 127.0.0.9", "up.a.example. A 127.0.0.1",
		"implicit.example. A 127.0.0.1",
		"null.example. MX 0 .",
		"dangling.example. MX 10 nowhere.example.",
		"half.example. MX 10 nowhere.example.", "half.example. MX 10 mail.broken.",
		"txt.example. TXT hello",
		"xn--bcher-kva.example. MX 10 up.a.example.",
	))
	for _, tt := range []struct {
		to   string
		code int
		want string
	}{
		{"bob@a.example", 0, ""},
		{"bob@A.EXAMPLE", 0, ""},
		{"bob@implicit.example", 0, ""},
		{"bob@bücher.example", 0, ""},
		{"bob@[127.0.0.1]", 0, ""},
		{"bob@null.example", 556, "does not take mail"},
		{"bob@dangling.example", 550, "does not exist"},
		{"bob@nothing.example", 550, "does not exist"},
		{"bob@txt.example", 550, "does not exist"},
		{"bob@half.example", -1, "look up the mail servers of half.example"},
		{"bob@x.broken", -1, "look up MX of x.broken"},
	} {
		d := msatest.NewDelivery([]byte(text), tt.to)
		d.Entry.SMTPUTF8 = true
		before := len(h.Messages())
		err := r.Deliver(t.Context(), d)
		got, reply := len(h.Messages())-before, nexthop.ReplyOf(err)
		switch {
		case tt.code == 0:
			if err != nil || got != 1 {
				t.Errorf("%s: %v", tt.to, err)
			}
		case tt.code < 0:
			wantTemporary(t, err, tt.want)
		case reply == nil || reply.Code != tt.code || !strings.Contains(reply.Message, tt.want):
			t.Errorf("%s: %v", tt.to, err)
		}
	}
	if h.Connections() != 3 { // one each of up.a.example, implicit.example and the literal
		t.Errorf("%d connections", h.Connections())
	}
	if n := len(h.Said("STARTTLS")); n != 3 {
		t.Errorf("TLS on %d of %d connections", n, h.Connections())
	}
	a, b := &queue.Recipient{Address: "x@Bücher.example"}, &queue.Recipient{Address: "y@xn--bcher-kva.example"}
	if r.Destination(nil, a) != r.Destination(nil, b) || r.Destination(nil, a).Concurrency != 4 {
		t.Errorf("%+v and %+v", r.Destination(nil, a), r.Destination(nil, b))
	}
}

// A host with many addresses does not leave out the backup.
func TestMXBackup(t *testing.T) {
	h := hoptest.New(t, nil)
	var records []string
	for i := range 20 {
		records = append(records, fmt.Sprintf("many.a.example. A 127.0.1.%d", i+1))
	}
	r := mxRelay(t, h, startDNS(t, append(records, "a.example. MX 10 many.a.example.", "a.example. MX 20 backup.a.example.", "backup.a.example. A 127.0.0.1")...))
	if err := r.Deliver(t.Context(), msatest.NewDelivery([]byte(text), "bob@a.example")); err != nil {
		t.Error(err)
	}
	hops, err := r.mx.of(t.Context(), "a.example")
	if err != nil || len(hops) != maxExchangers || hops[0].Host != "many.a.example" || hops[maxExchangers-1].Host != "backup.a.example" {
		t.Errorf("%v, %d hosts", err, len(hops))
	}
}

// Nor does one of which a name server says nothing.
func TestMXSilentName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, err := newExchangers(&nexthop.Options{Connect: 30 * time.Second}, "")
		if err != nil {
			t.Fatal(err)
		}
		x.lookupMX = func(context.Context, string) ([]*net.MX, error) {
			return []*net.MX{{Host: "a.silent.", Pref: 1}, {Host: "b.silent.", Pref: 2}, {Host: "up.example.", Pref: 3}}, nil
		}
		x.lookupIP = func(ctx context.Context, host string) ([]netip.Addr, error) {
			if strings.HasSuffix(host, ".silent.") {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return []netip.Addr{netip.MustParseAddr("192.0.2.1")}, ctx.Err()
		}
		if hops, err := x.of(t.Context(), "a.example"); err != nil || len(hops) != 1 || hops[0].Host != "up.example" {
			t.Errorf("%v, %v", hops, err)
		}
	})
}

// All mail exchangers down is the destination's state.
func TestMXDown(t *testing.T) {
	h := hoptest.New(t, hoptest.On("connect", "421 4.3.2 no"))
	r := mxRelay(t, h, startDNS(t, "a.example. MX 10 m.a.example.", "m.a.example. A 127.0.0.1", "m.a.example. AAAA ::1"))
	d := msatest.NewDelivery([]byte(text), "bob@a.example")
	if err := r.Deliver(t.Context(), d); !queue.IsUnreachable(err) {
		t.Error(err)
	}
}

func TestMXConfig(t *testing.T) {
	for want, r := range map[string]*Relay{
		"remove one of both":             {MX: true, Host: "a"},
		"resolver goes with mx":          {Host: "a", Resolver: "127.0.0.1"},
		"resolver: host:":                {MX: true, Resolver: "a b"},
		"would go to anybody":            {MX: true, Auth: &Auth{Username: "a", Password: "b"}},
		"takes any certificate":          {Host: "a", TLS: nexthop.TLSOpportunistic, TLSClient: conf.TLSClient{ServerName: "b"}},
		"is not an IP address":           {Host: "a", Bind: "eth0"},
		"bind: {env.MSA_NOT_SET} is":     {Host: "a", Bind: "{env.MSA_NOT_SET}"},
		"helo: {env.MSA_NOT_SET} is":     {Host: "a", Helo: "{env.MSA_NOT_SET}"},
		"resolver: {env.MSA_NOT_SET}":    {MX: true, Resolver: "{env.MSA_NOT_SET}"},
		"server_name: {env.MSA_NOT_SET}": {Host: "a", TLSClient: conf.TLSClient{ServerName: "{env.MSA_NOT_SET}"}},
		"rate: a number of messages":     {Host: "a", Rate: &Rate{Messages: 1}},
		"go together":                    {Host: "a", TLSClient: conf.TLSClient{ClientKey: "k"}},
		"an https URL is required":       {Host: "a", Auth: &Auth{Username: "a", OAuth: &OAuth{TokenURL: "http://login.example.org", ClientID: "c", ClientSecret: "s"}}},
		"client_secret are required":     {Host: "a", Auth: &Auth{Username: "a", OAuth: &OAuth{TokenURL: "https://login.example.org", ClientID: "c"}}},
		"there are XOAUTH2":              {Host: "a", Auth: &Auth{Username: "a", Mechanism: "PLAIN", OAuth: &OAuth{}}},
	} {
		if err := r.Provision(caddyContext); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, have %v", want, err)
		}
	}
}

// The doctor connects to the exchangers of the domains that it is told of, since DNS alone says nothing of a network that
// lets nobody out.
func TestExamineMX(t *testing.T) {
	h := hoptest.New(t, nil)
	r := mxRelay(t, h, startDNS(t, "up.example. MX 10 mx.up.example.", "mx.up.example. A 127.0.0.1", "down.example. MX 10 mx.down.example.", "mx.down.example. A 127.0.0.9"))
	if !r.Direct() {
		t.Error("not direct")
	}
	for _, tt := range []struct {
		domain string
		level  doctor.Level
		text   string
	}{
		{"", doctor.Skipped, "no domain is known"},
		{"up.example", doctor.OK, "takes messages"},
		{"down.example", doctor.Wrong, "connection refused"},
		{"nowhere.example", doctor.Warn, "are not to be had"},
	} {
		x := caddymsa.Examination{Subject: "route relay", Hostname: "msa.example"}
		if tt.domain != "" {
			x.Domains = []string{tt.domain}
		}
		found := r.Examine(t.Context(), x)
		if !slices.ContainsFunc(found, func(f doctor.Finding) bool { return f.Level == tt.level && strings.Contains(f.Text, tt.text) }) {
			t.Errorf("%q: no %s %q in %+v", tt.domain, tt.level, tt.text, found)
		}
	}
}
