package webcall

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
)

// hasty reads a request's header and so many octets of its body, answers, and closes with the rest unread.
func hasty(t *testing.T, secured bool, octets int64, answer string) *Client {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	c := &Config{URL: "http://" + l.Addr().String()}
	if secured {
		server := httptest.NewTLSServer(nil)
		t.Cleanup(server.Close)
		l = tls.NewListener(l, server.TLS)
		c.URL, c.CA = "https://"+l.Addr().String(), ca(t, server)
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				r := bufio.NewReader(conn)
				if _, err := http.ReadRequest(r); err != nil {
					return
				}
				_, _ = io.CopyN(io.Discard, r, octets)
				fmt.Fprintf(conn, "HTTP/1.1 %s\r\nContent-Length: 4\r\nConnection: close\r\n\r\nsaid", answer)
			}()
		}
	}()
	client, err := c.Open(zap.NewNop(), 4)
	if err != nil {
		t.Fatal(err)
	}
	client.transport.ExpectContinueTimeout = time.Millisecond
	t.Cleanup(client.Close)
	return client
}

// An answer that comes before the body was read counts, unless it says that all is well.
func TestEarlyAnswer(t *testing.T) {
	large := Body{Type: "text/plain", Size: 32 << 20, Whole: true, Open: func() (io.ReadCloser, error) {
		return io.NopCloser(io.LimitReader(strings.NewReader(strings.Repeat("x", 32<<20)), 32<<20)), nil
	}}
	for _, secured := range []bool{false, true} {
		for _, octets := range []int64{0, 1 << 20} {
			client := hasty(t, secured, octets, "413 Payload Too Large")
			for range 5 {
				resp, err := client.Post(t.Context(), nil, large)
				if err != nil {
					t.Fatalf("TLS %v, after %d octets: %v", secured, octets, err)
				}
				if b, _ := io.ReadAll(resp.Body); resp.StatusCode != 413 || string(b) != "said" {
					t.Errorf("%d %q", resp.StatusCode, b)
				}
				_ = resp.Body.Close()
			}
			if resp, err := hasty(t, secured, octets, "200 OK").Post(t.Context(), nil, large); err == nil {
				t.Errorf("TLS %v: half a message counts as delivered: %v", secured, resp)
			}
		}
	}
}

// A large body is sent when the service wants it; one that does not know the question gets it too.
func TestExpect(t *testing.T) {
	body := text(strings.Repeat("x", expectFrom))
	var got atomic.Int64
	status := http.StatusRequestEntityTooLarge
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if status == http.StatusExpectationFailed && r.Header.Get("Expect") != "" || status == http.StatusRequestEntityTooLarge {
			w.WriteHeader(status) // the body was not asked for
			return
		}
		n, _ := io.Copy(io.Discard, r.Body)
		got.Add(n)
	}))
	defer srv.Close()
	var opened atomic.Int64 // the last of it may be looked for when the answer is there
	counted := body
	counted.Open = func() (io.ReadCloser, error) {
		r, err := body.Open()
		return closer{r, &opened}, err
	}
	c, err := (&Config{URL: srv.URL}).Open(zap.NewNop(), 1)
	if err != nil {
		t.Fatal(err)
	}
	c.transport.ExpectContinueTimeout = time.Minute
	defer c.Close()
	for _, tt := range []struct{ status, want int }{{413, 413}, {200, 200}, {417, 200}} {
		status = tt.status
		opened.Store(0)
		got.Store(0)
		resp, err := c.Post(t.Context(), nil, counted)
		if err != nil || resp.StatusCode != tt.want || (got.Load() > 0) != (tt.want == 200) || (opened.Load() > 0) != (tt.want == 200) {
			t.Fatal(tt, resp, err, got.Load(), opened.Load())
		}
		_ = resp.Body.Close()
	}
}

// closer counts the octets that were read.
type closer struct {
	io.ReadCloser
	n *atomic.Int64
}

func (c closer) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// Only what concerns the service is called so.
func TestIsUnreachable(t *testing.T) {
	asked, release := make(chan struct{}, 1), make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { asked <- struct{}{}; <-release }))
	defer srv.Close()
	defer close(release)
	for url, want := range map[string]bool{"http://127.0.0.1:1": true, srv.URL: false, strings.Replace(srv.URL, "http:", "https:", 1): true} {
		c, err := (&Config{URL: url}).Open(zap.NewNop(), 1)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		go func() {
			select {
			case <-asked: // who asked waits in vain
				cancel()
			case <-ctx.Done():
			}
		}()
		if _, err := c.Post(ctx, nil, text("x")); err == nil || IsUnreachable(err) != want {
			t.Errorf("%s: %v", url, err)
		}
		cancel()
		c.Close()
	}
}

// A service that wants a certificate of the client's says so after the handshake, in TLS 1.3: it lets nobody in, whatever is sent.
func TestNoClientCertificate(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		server.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert, MaxVersion: version}
		server.Config.ErrorLog = log.New(io.Discard, "", 0)
		server.StartTLS()
		defer server.Close()
		c := &Config{URL: server.URL}
		c.CA = ca(t, server)
		client, err := c.Open(zap.NewNop(), 1)
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		for _, size := range []int{10, 1 << 20} {
			if _, err := client.Post(t.Context(), nil, text(strings.Repeat("x", size))); !IsUnreachable(err) {
				t.Errorf("%s, %d octets: %v", tls.VersionName(version), size, err)
			}
		}
	}
}
