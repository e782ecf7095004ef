package integration

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
)

// withLayer4 is a binary that has caddy-l4 and the handler for it too. It is built once.
var withLayer4 = sync.OnceValues(func() (string, error) {
	out := filepath.Join(buildDir, "caddy-layer4")
	return out, link("..", nil, out, "./xcaddy/layer4")
})

func layer4Binary(t *testing.T) string {
	t.Helper()
	path, err := withLayer4()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// servingLayer4 is a server of that binary.
func servingLayer4(t *testing.T) *server {
	t.Helper()
	s := newServer(t)
	s.binary = layer4Binary(t)
	s.write("Caddyfile", s.caddyfile(layout{}))
	s.writeUsers("")
	s.run()
	return s
}

func TestAdaptLayer4(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("adapt/layer4/*.caddyfiletest")
	if err != nil || len(files) == 0 {
		t.Fatal("no files", err)
	}
	s := servingLayer4(t)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".caddyfiletest"), func(t *testing.T) { golden(t, s, file) })
	}
}

// onePort is a web site and the server on one port, by SNI: in $PORT the layer4 app has the port and hands HTTPS
// on, in $WEB the web site has it, with layer 4 in its listener wrappers. Both have routes by address too: a client
// of 127.0.0.2 speaks in clear text, one of 127.0.0.3 sends the PROXY protocol first, one of 127.0.0.4 has TLS from layer 4, and one of
// 127.0.0.5 says what it speaks by ALPN.
const onePort = `
	http_port 1 # for redirects, which nothing asks for
	auto_https disable_redirects
	layer4 {
		$PORT {
			$ROUTES
			@web tls sni www.example.test
			route @web {
				proxy $WEB
			}
		}
	}
	servers {
		listener_wrappers {
			layer4 {
				$ROUTES
			}
			tls
		}
	}
`

const layer4Routes = `
			@clear remote_ip 127.0.0.2
			route @clear {
				msa msa.example.test
			}
			@proxied remote_ip 127.0.0.3
			route @proxied {
				proxy_protocol {
					allow 127.0.0.3/32
				}
				msa msa.example.test
			}
			@terminated {
				remote_ip 127.0.0.4
				tls sni msa.example.test
			}
			route @terminated {
				tls {
					connection_policy {
						alpn smtp
					}
				}
				msa msa.example.test
			}
			@alpn {
				remote_ip 127.0.0.5
				tls alpn smtp
			}
			route @alpn {
				msa msa.example.test
			}
			@smtp tls sni msa.example.test
			route @smtp {
				msa msa.example.test
			}
`

// startOnePort runs both, and returns their addresses.
func startOnePort(t *testing.T, msa string) (s *server, l layout, addresses map[string]string) {
	t.Helper()
	s = newServer(t)
	s.binary = layer4Binary(t)
	addresses = map[string]string{"the layer4 app": freeAddress(t), "a site's listener wrappers": freeAddress(t)}
	web := addresses["a site's listener wrappers"]
	l = layout{msa: msa, auth: "auth {\n\t\tmechanisms SCRAM-SHA-256-PLUS PLAIN\n\t\tfile $DIR/users.passwd\n\t}", global: strings.NewReplacer("$PORT", addresses["the layer4 app"], "$WEB", web, "$ROUTES", layer4Routes).Replace(onePort)}
	s.write("Caddyfile", patient(s.caddyfile(l))+site(web))
	s.writeUsers("")
	s.run()
	return s, l, addresses
}

func site(web string) string {
	_, port, _ := net.SplitHostPort(web)
	return fmt.Sprintf("\nhttps://www.example.test:%s {\n\tbind 127.0.0.1\n\ttls internal\n\trespond \"the web\"\n}\n", port)
}

// from connects from an address of one's own.
func from(t *testing.T, local, address string) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(local)}, Timeout: patience}
	nc, err := d.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	return nc
}

// submission by implicit TLS, HTTPS, and submission by STARTTLS on one port, with and without
// layer 4's TLS, by the layer4 app and by the listener wrappers of a web site.
func TestOnePort(t *testing.T) {
	t.Parallel()
	s, _, addresses := startOnePort(t, "")
	trust := s.tlsConfig()
	for way, address := range addresses {
		web := &http.Client{Timeout: patience, Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: trust.RootCAs}, DisableKeepAlives: true,
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, address)
			},
		}}
		s.await("the web site by "+way, func() bool {
			resp, err := web.Get("https://www.example.test/")
			if err != nil {
				return false
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			return err == nil && string(body) == "the web"
		})
		word := strings.Fields(way)[0] // tells the letters apart
		received := func(message []byte, ip string) {
			t.Helper()
			if want := "Received: from client.example.org ([" + ip + "])\r\n"; !bytes.Contains(message, []byte(want)) || !bytes.Contains(message, []byte("ESMTPSA")) {
				t.Errorf("%s: want %q in:\n%s", way, want, message)
			}
		}
		received(letterFrom(t, s, from(t, "127.0.0.1", address), trust, true, word+"-implicit"), "127.0.0.1")
		received(letterFrom(t, s, from(t, "127.0.0.4", address), trust, true, word+"-terminated"), "127.0.0.4")
		received(letterFrom(t, s, from(t, "127.0.0.2", address), trust, false, word+"-starttls"), "127.0.0.2")
		proxied := from(t, "127.0.0.3", address)
		if _, err := io.WriteString(proxied, proxyV1("192.0.2.7")); err != nil {
			t.Fatal(err)
		}
		received(letterFrom(t, s, proxied, trust, false, word+"-proxied"), "192.0.2.7")

		// A client that says smtp, as RFC 7301's registry has it, is served either way.
		smtp := trust.Clone()
		smtp.NextProtos = []string{"smtp"}
		received(letterFrom(t, s, from(t, "127.0.0.4", address), smtp, true, word+"-says-smtp"), "127.0.0.4")
		received(letterFrom(t, s, from(t, "127.0.0.5", address), smtp, true, word+"-alpn"), "127.0.0.5")

		// Nothing but four commands before TLS.
		c, err := greeted(from(t, "127.0.0.2", address), nil)
		if err != nil {
			t.Fatal(way, err)
		}
		for _, line := range []string{"AUTH PLAIN AGFsaWNlAHNlY3JldA==", "MAIL FROM:<alice@example.org>", "HELO a", "RSET", "\x16\x03\x01", ""} {
			if err := c.do("530 5.7.0 Must issue a STARTTLS command first", line); err != nil {
				t.Errorf("%s: %v", way, err)
			}
		}
		c.close()

		// Channel binding is that of the TLS that the session runs in, whoever made it.
		for _, local := range []string{"127.0.0.1", "127.0.0.4"} {
			c, err := greeted(from(t, local, address), trust)
			if err != nil {
				t.Fatal(way, err)
			}
			if err := c.do("250", "EHLO client.example.org"); err != nil {
				t.Error(way, err)
			}
			if err := c.do("503 5.5.1", "STARTTLS"); err != nil {
				t.Error(way, err)
			}
			state := c.nc.(*tls.Conn).ConnectionState()
			binding, err := sasl.TLSExporter(&state)
			if err != nil {
				t.Fatal(err)
			}
			client, err := sasl.NewSCRAMPlusClient("alice@example.org", "secret", binding)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.auth(client, func() {}); err != nil {
				t.Error(way, local, err)
			}
			c.close()
		}
	}
}

// A session that is open survives a reload, wherever its connection came from, and has the new configuration at its
// next step; when the server has gone from the configuration, it is told so.
func TestOnePortReload(t *testing.T) {
	t.Parallel()
	s, l, addresses := startOnePort(t, "")
	trust := s.tlsConfig()
	ways := map[string]*talker{}
	for way, address := range addresses {
		for how, local := range map[string]string{"implicit": "127.0.0.1", "terminated": "127.0.0.4"} {
			c, err := greeted(from(t, local, address), trust)
			if err != nil {
				t.Fatal(way, err)
			}
			err = all(func() error { return c.do("250", "EHLO client.example.org") },
				func() error { return c.login("alice@example.org", "secret") },
				func() error { return c.envelope("alice@example.org", strings.Fields(way)[0]+how+"@example.net") })
			if err != nil {
				t.Fatal(way, how, err)
			}
			ways[strings.Fields(way)[0]+how] = c
		}
	}
	l.msa = "limits {\n message_size 1MiB\n}"
	if status, answer := s.load(s.caddyfile(l) + site(addresses["a site's listener wrappers"])); status != http.StatusOK {
		t.Fatal(status, answer)
	}
	for way, c := range ways {
		if _, err := c.data(letter(way)); err != nil {
			t.Errorf("%s: the transaction astride the reload: %v", way, err)
		}
		s.mail(way+"@example.net", 1)
		if err := c.do("552 5.3.4", "MAIL FROM:<alice@example.org> SIZE=2000000"); err != nil {
			t.Errorf("%s: the new limit: %v", way, err)
		}
	}
	// Another server's name: this one's sessions end.
	other := strings.ReplaceAll(s.caddyfile(l), "msa "+hostname, "msa other.example.test") + site(addresses["a site's listener wrappers"])
	if status, answer := s.load(other); status != http.StatusOK {
		t.Fatal(status, answer)
	}
	for way, c := range ways {
		if err := c.want("421 4.3.2"); err != nil {
			t.Errorf("%s: %v", way, err)
		}
	}
}

// The server's limits hold for what is handed over, together with its own sockets; and a process that ends lets
// transactions be finished.
func TestOnePortLimits(t *testing.T) {
	t.Parallel()
	s, _, addresses := startOnePort(t, "limits {\n connections_per_ip 1\n }")
	trust := s.tlsConfig()
	address := addresses["the layer4 app"]
	first, err := greeted(from(t, "127.0.0.4", address), trust)
	if err != nil {
		t.Fatal(err)
	}
	second := tls.Client(from(t, "127.0.0.4", address), trust)
	if err := newTalker(second).want("421 4.7.0 Too many connections"); err != nil {
		t.Error(err)
	}
	err = all(func() error { return first.do("250", "EHLO client.example.org") },
		func() error { return first.login("alice@example.org", "secret") },
		func() error { return first.envelope("alice@example.org", "bob@example.net") },
		func() error { return first.do("354", "DATA") })
	if err != nil {
		t.Fatal(err)
	}
	go s.stop()
	s.await("the process to let nobody in", func() bool {
		nc, err := net.DialTimeout("tcp", s.starttls, time.Second)
		if err != nil {
			return true
		}
		_ = nc.Close()
		return false
	})
	if err := first.send(letter("last") + ".\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := first.queued(); err != nil {
		t.Error(err)
	}
	<-s.exited
}
