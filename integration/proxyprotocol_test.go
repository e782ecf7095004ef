package integration

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// proxyV1 is the text form of a PROXY header.
func proxyV1(source string) string {
	from := netip.MustParseAddr(source)
	family, to := "TCP4", "192.0.2.1"
	if from.Is6() {
		family, to = "TCP6", "2001:db8::1"
	}
	return fmt.Sprintf("PROXY %s %s %s 4711 587\r\n", family, from, to)
}

// proxyV2 is the binary form; for no source, it is a balancer's own connection (LOCAL).
func proxyV2(source string) string {
	const signature = "\r\n\r\n\x00\r\nQUIT\n"
	if source == "" {
		return signature + "\x20\x00\x00\x00"
	}
	from := netip.MustParseAddr(source)
	family := byte(0x11)
	if from.Is6() {
		family = 0x21
	}
	body := append(from.AsSlice(), from.AsSlice()...) // both ends alike
	body = append(body, 4711>>8, 4711&0xff, 587>>8, 587&0xff)
	return signature + string([]byte{0x21, family, 0, byte(len(body))}) + string(body)
}

// With proxy_protocol, the client is who the balancer says: in Received, in the log and
// in what counts by address. Who is not a balancer of ours has no say.
func TestProxyProtocol(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	proxied := map[string][2]string{} // by fallback policy: address for STARTTLS, for TLS
	var global strings.Builder
	for _, fallback := range []string{"ignore", "skip", "reject"} {
		proxied[fallback] = [2]string{freeAddress(t), freeAddress(t)}
		fmt.Fprintf(&global, `msa %s.example.test {
		listen     %s
		listen_tls %s unix/$DIR/%s.sock
		listener_wrappers {
			proxy_protocol {
				timeout 30s
				allow 127.0.0.1/32
				fallback_policy %s
			}
		}
		tls internal
		auth {
			file $DIR/users.passwd
		}
		limits {
			connections_per_ip 2
		}
		deliver maildir $DIR/mail/{msa.recipient.domain}/{msa.recipient.local}
	}
	`, fallback, proxied[fallback][0], proxied[fallback][1], fallback, fallback)
	}
	s.write("Caddyfile", s.caddyfile(layout{global: global.String()}))
	s.writeUsers("")
	s.run()
	for fallback, addresses := range proxied { // the certificates take a moment
		s.await(fallback, func() bool {
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP("127.0.0.2")}}
			nc, err := d.Dial("tcp", addresses[1])
			if err != nil {
				return false
			}
			defer nc.Close()
			return tls.Client(nc, s.tlsFor(fallback+".example.test")).Handshake() == nil
		})
	}

	// through returns a connection from an address that begins with a header.
	through := func(network, local, address, header string) net.Conn {
		t.Helper()
		d := net.Dialer{Timeout: patience}
		if local != "" {
			d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(local)}
		}
		nc, err := d.Dial(network, address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = nc.Close() })
		if _, err := nc.Write([]byte(header)); err != nil {
			t.Fatal(err)
		}
		return nc
	}
	const balancer, stranger = "127.0.0.1", "127.0.0.2"
	socket := filepath.Join(s.dir, "ignore.sock")
	for _, test := range []struct {
		name, network, local, fallback string
		implicit                       bool
		header, want                   string
	}{
		{"v1", "tcp", balancer, "ignore", false, proxyV1("203.0.113.7"), "203.0.113.7"},
		{"v1-tls", "tcp", balancer, "ignore", true, proxyV1("203.0.113.8"), "203.0.113.8"},
		{"v1-ipv6", "tcp", balancer, "skip", false, proxyV1("2001:db8::9"), "2001:db8::9"},
		{"v1-unknown", "tcp", balancer, "skip", false, "PROXY UNKNOWN\r\n", balancer},
		{"v2", "tcp", balancer, "reject", false, proxyV2("203.0.113.10"), "203.0.113.10"},
		{"v2-tls", "tcp", balancer, "reject", true, proxyV2("203.0.113.11"), "203.0.113.11"},
		{"v2-ipv6", "tcp", balancer, "ignore", true, proxyV2("2001:db8::12"), "2001:db8::12"},
		{"v2-local", "tcp", balancer, "ignore", false, proxyV2(""), balancer},
		{"unix", "unix", "", "ignore", true, proxyV2("203.0.113.13"), "203.0.113.13"},
		{"stranger-v1-ignored", "tcp", stranger, "ignore", false, proxyV1("203.0.113.14"), stranger},
		{"stranger-v2-ignored", "tcp", stranger, "ignore", true, proxyV2("203.0.113.15"), stranger},
		{"stranger-says-nothing", "tcp", stranger, "skip", false, "", stranger},
	} {
		address := proxied[test.fallback][0]
		switch {
		case test.network == "unix":
			address = socket
		case test.implicit:
			address = proxied[test.fallback][1]
		}
		nc := through(test.network, test.local, address, test.header)
		message := letterFrom(t, s, nc, s.tlsFor(test.fallback+".example.test"), test.implicit, test.name)
		literal := test.want
		if strings.Contains(literal, ":") {
			literal = "IPv6:" + literal
		}
		if want := "Received: from client.example.org ([" + literal + "])\r\n"; !bytes.Contains(message, []byte(want)) {
			t.Errorf("%s: want %s in\n%s", test.name, want, message)
		}
		s.logged("message accepted", `"`+test.name+`@example.net"`, `"remote_ip":"`+test.want+`"`)
	}

	// A stranger's header is a bad command where it is skipped, and the end where it is rejected.
	c, err := greeted(through("tcp", stranger, proxied["skip"][0], proxyV1("203.0.113.16")), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.want("530 5.7.0"); err != nil {
		t.Error(err)
	}
	c.close()
	s.logged("session ended", `"remote_ip":"`+stranger+`"`)
	for i, implicit := range []bool{false, true} {
		nc := through("tcp", stranger, proxied["reject"][i], proxyV1("203.0.113.17"))
		if c, err := rejected(nc, implicit); err == nil {
			t.Errorf("implicit %v: a rejected header goes on: %s", implicit, c)
		}
	}
	if strings.Contains(s.log.String(), `"remote_ip":"203.0.113.16"`) || strings.Contains(s.log.String(), `"remote_ip":"203.0.113.17"`) {
		t.Error("a stranger's word counts")
	}

	// Each client behind the balancer counts for itself.
	for _, client := range []string{"203.0.113.20", "203.0.113.21"} {
		for n := range 3 {
			c := newTalker(through("tcp", balancer, proxied["ignore"][0], proxyV1(client)))
			want := "220"
			if n == 2 {
				want = "421 4.7.0"
			}
			if err := c.want(want); err != nil {
				t.Errorf("connection %d of %s: %v", n+1, client, err)
			}
		}
	}
}

// rejected tells how a session goes on whose PROXY header is not to be had.
func rejected(nc net.Conn, implicit bool) (reply string, err error) {
	_ = nc.SetDeadline(time.Now().Add(patience))
	if implicit {
		conn := tls.Client(nc, &tls.Config{InsecureSkipVerify: true})
		return "a handshake", conn.Handshake()
	}
	c := newTalker(nc)
	if reply, err := c.reply(); err != nil || strings.HasPrefix(reply, "421") {
		return reply, fmt.Errorf("refused with %q, %w", reply, err)
	}
	if err := c.send("EHLO client.example.org\r\n"); err != nil {
		return "", err
	}
	return c.reply()
}

// A reload drops nobody behind a balancer either: not who is waited for to send a PROXY
// header, and not who comes at that moment.
func TestReloadWithWrappers(t *testing.T) {
	t.Parallel()
	l := layout{msa: `listener_wrappers {
			proxy_protocol {
				timeout 30s
				allow 127.0.0.0/8
			}
		}
		limits {
			connections_per_ip 2000
		}`}
	s := newServer(t)
	s.write("Caddyfile", s.caddyfile(l))
	s.writeUsers("")
	s.process() // run would wait for a greeting with no header
	s.logged("certificate obtained successfully")
	begin := func() net.Conn {
		nc, err := net.DialTimeout("tcp", s.starttls, patience)
		if err != nil {
			t.Error(err)
			return nil
		}
		t.Cleanup(func() { _ = nc.Close() })
		return nc
	}
	finish := func(nc net.Conn, header string) error {
		if _, err := nc.Write([]byte(header)); err != nil {
			return err
		}
		c, err := greeted(nc, nil)
		if err != nil {
			return err
		}
		return all(
			func() error { return c.do("250", "EHLO client.example.org") },
			func() error { return c.do("221", "QUIT") },
		)
	}
	stop, storm := make(chan struct{}), sync.WaitGroup{}
	end := sync.OnceFunc(func() { close(stop); storm.Wait() })
	defer end() // before the server is gone
	for range 3 {
		storm.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if nc := begin(); nc != nil {
					if err := finish(nc, proxyV2("203.0.113.30")); err != nil {
						t.Errorf("storm: %v", err)
					}
				}
			}
		})
	}
	for n := range 20 {
		waiting, half := begin(), begin()
		if waiting == nil || half == nil {
			break
		}
		header := proxyV2("203.0.113.31") // a text header has to come in one piece
		if _, err := half.Write([]byte(header[:20])); err != nil {
			t.Fatal(err)
		}
		if status, answer := s.load(s.caddyfile(l)); status != http.StatusOK {
			t.Fatal(status, answer)
		}
		if err := finish(waiting, header); err != nil {
			t.Errorf("reload %d: who sent no header yet: %v", n, err)
		}
		if err := finish(half, header[20:]); err != nil {
			t.Errorf("reload %d: who sent half a header: %v", n, err)
		}
	}
	end()
	if strings.Contains(s.log.String(), `"level":"error"`) {
		t.Error("the server logged an error")
	}
}

// Who is not a balancer is greeted at once, however long a balancer may take for its header; and who
// sends none counts as a stranger from the first moment on.
func TestProxyStrangers(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	l := layout{msa: `listener_wrappers {
			proxy_protocol {
				timeout 10m
				allow 127.0.0.7/32
			}
		}
		limits {
			unauthenticated 5
		}`}
	s.write("Caddyfile", s.caddyfile(l))
	s.writeUsers("")
	s.run()
	for range 3 {
		c, err := dialFrom("127.0.0.1", s.starttls)
		if err != nil {
			t.Fatal(err)
		}
		if err := all(
			func() error { return c.do("250", "EHLO client.example.org") },
			func() error { return c.do("221", "QUIT") },
		); err != nil {
			t.Error(err)
		}
	}
	// Of those that say nothing five may wait, and the others make room.
	var silent []net.Conn
	var waiting sync.WaitGroup
	gone := make(chan net.Conn)
	for range 12 {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP("127.0.0.7")}}
		nc, err := d.Dial("tcp", s.starttls)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		silent = append(silent, nc)
		waiting.Go(func() {
			if _, err := nc.Read(make([]byte, 1)); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
				gone <- nc
			}
		})
	}
	for n := range 7 {
		select {
		case nc := <-gone:
			silent = slices.DeleteFunc(silent, func(other net.Conn) bool { return other == nc })
		case <-time.After(patience):
			t.Fatalf("only %d of 12 made room", n)
		}
	}
	// With their header, those that are left get their greeting.
	for _, nc := range silent {
		_ = nc.SetReadDeadline(time.Unix(1, 0)) // ends its goroutine
	}
	waiting.Wait()
	for i, nc := range silent {
		if _, err := nc.Write([]byte(proxyV2("203.0.113." + strconv.Itoa(40+i)))); err != nil {
			t.Fatal(err)
		}
		if _, err := greeted(nc, nil); err != nil {
			t.Error(err)
		}
	}
}
