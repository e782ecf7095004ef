package webcall

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
)

// serve runs a service by hand on each connection, which it then holds open until the test ends, unless close is true.
func serve(t *testing.T, closes bool, service func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { close(done); _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				if service(conn); !closes {
					<-done
				}
			}()
		}
	}()
	return l.Addr().String()
}

// request reads the header of a request.
func request(c net.Conn) { _, _ = http.ReadRequest(bufio.NewReader(c)) }

// reset closes a connection so that the other side's next write fails at once.
func reset(c net.Conn) {
	_ = c.(*net.TCPConn).SetLinger(0)
	_ = c.Close()
}

// A service that wants to speak another protocol from now on has not answered. Its body would end with the connection, and not with the context.
func TestSwitchedProtocols(t *testing.T) {
	address := serve(t, false, func(c net.Conn) {
		request(c)
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n")
	})
	client, err := (&Config{URL: "http://" + address}).Open(zap.NewNop(), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if resp, err := client.Post(t.Context(), nil, text("hello")); err == nil || !strings.Contains(err.Error(), "status 101") || IsUnreachable(err) {
		t.Errorf("%v, %v", resp, err)
	}
}

// The context ends a call in whatever phase the service hangs, and a service that breaks off ends it before.
func TestHang(t *testing.T) {
	pki := httptest.NewTLSServer(nil)
	t.Cleanup(pki.Close)
	trusted := ca(t, pki)
	wantsCertificate := pki.TLS.Clone()
	wantsCertificate.ClientAuth = tls.RequireAnyClientCert
	secure := func(config *tls.Config, service func(c net.Conn)) func(net.Conn) {
		return func(c net.Conn) {
			if s := tls.Server(c, config); s.Handshake() == nil {
				service(s)
			}
		}
	}
	answer := func(c net.Conn) {
		request(c)
		_, _ = fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
	}
	nothing := func(net.Conn) {}
	raw := func(c net.Conn) net.Conn { return c.(*tls.Conn).NetConn() }
	for name, tt := range map[string]struct {
		scheme  string
		closes  bool
		service func(net.Conn)
	}{
		"silent after connect":           {"http", false, nothing},
		"no TLS handshake":               {"https", false, nothing},
		"handshake breaks off":           {"https", true, reset},
		"half a handshake":               {"https", false, func(c net.Conn) { _, _ = c.Write([]byte{22, 3, 3, 1, 0, 2}) }},
		"plain HTTP to TLS":              {"http", true, secure(pki.TLS, nothing)},
		"plain HTTP to TLS that lingers": {"http", false, secure(pki.TLS, nothing)},
		"TLS to plain HTTP":              {"https", true, request},
		"client certificate is missing":  {"https", true, secure(wantsCertificate, nothing)},
		"silent after TLS":               {"https", false, secure(pki.TLS, nothing)},
		"reset after TLS":                {"https", true, secure(pki.TLS, func(c net.Conn) { reset(raw(c)) })},
		"silent after the header":        {"http", false, request},
		"silent after the header, TLS":   {"https", false, secure(pki.TLS, request)},
		"reset after the header":         {"http", true, func(c net.Conn) { request(c); reset(c) }},
		"reset after the header, TLS":    {"https", true, secure(pki.TLS, func(c net.Conn) { request(c); reset(raw(c)) })},
		"half a header":                  {"http", false, func(c net.Conn) { request(c); _, _ = fmt.Fprint(c, "HTTP/1.1 200 OK\r\nConte") }},
		"continue and silence":           {"http", false, func(c net.Conn) { request(c); _, _ = fmt.Fprint(c, "HTTP/1.1 100 Continue\r\n\r\n") }},
		"half an answer":                 {"http", false, answer},
		"half an answer, TLS":            {"https", false, secure(pki.TLS, answer)},
		"reset in the answer":            {"http", true, func(c net.Conn) { answer(c); reset(c) }},
		"reset in the answer, TLS":       {"https", true, secure(pki.TLS, func(c net.Conn) { answer(c); reset(raw(c)) })},
	} {
		for _, size := range []int{1, 8 << 20} {
			t.Run(fmt.Sprintf("%s, %d octets", name, size), func(t *testing.T) {
				t.Parallel()
				config := &Config{URL: tt.scheme + "://" + serve(t, tt.closes, tt.service)}
				if tt.scheme == "https" {
					config.CA = trusted
				}
				client, err := config.Open(zap.NewNop(), 4)
				if err != nil {
					t.Fatal(err)
				}
				ended := make(chan error, 1)
				go func() {
					ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
					defer cancel()
					resp, err := client.Post(ctx, nil, text(strings.Repeat("x", size)))
					if err == nil {
						_, err = io.Copy(io.Discard, resp.Body)
						_ = resp.Body.Close()
					}
					client.Close()
					ended <- err
				}()
				select {
				case err := <-ended:
					if err == nil {
						t.Error("no error")
					}
				case <-time.After(30 * time.Second):
					t.Fatal("the call does not end with its context")
				}
			})
		}
	}
}

// Idle connections can be closed when the service has gone without a word.
func TestCloseIdle(t *testing.T) {
	pki := httptest.NewTLSServer(nil)
	t.Cleanup(pki.Close)
	address := serve(t, true, func(c net.Conn) {
		s := tls.Server(c, pki.TLS)
		request(s)
		_, _ = fmt.Fprint(s, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		time.Sleep(20 * time.Millisecond) // the answer is to be read before
		reset(c)
	})
	client, err := (&Config{URL: "https://" + address, TLSClient: conf.TLSClient{CA: ca(t, pki)}}).Open(zap.NewNop(), 4)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for range 3 {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			if resp, err := client.Post(ctx, nil, text("x")); err == nil {
				_ = resp.Body.Close()
			}
			cancel()
			time.Sleep(30 * time.Millisecond)
		}
		client.Close()
	}()
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
		t.Fatal("closing hangs")
	}
}

// ca is a file of the certificate of a server of httptest.
func ca(t *testing.T, server *httptest.Server) []string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{file}
}
