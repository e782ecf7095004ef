package load

import (
	"bytes"
	"crypto/tls"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/caddy-msa/caddy-msa/integration/bench/least"
)

// serve starts a least-work server.
func serve(t *testing.T, o least.Options) (*least.Server, string) {
	t.Helper()
	s, err := least.New(o)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() { _ = s.Serve(ln) }()
	return s, ln.Addr().String()
}

func tlsConfig(t *testing.T) *tls.Config {
	t.Helper()
	cert, key, err := least.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}}
}

// The generator and the least-work server understand each other, in every store.
func TestRun(t *testing.T) {
	for _, store := range []string{"discard", "each", "group"} {
		dir := t.TempDir()
		s, addr := serve(t, least.Options{TLS: tlsConfig(t), User: "user@example.com", Pass: "secret", Store: store, Dir: dir})
		r, err := Run(t.Context(), Options{
			Addr: addr, User: "user@example.com", Password: "secret",
			Clients: 3, Messages: 2, Sessions: 6, Size: 100 << 10,
		})
		if err != nil {
			t.Fatal(err)
		}
		if r.Sessions != 6 || r.Messages != 12 || r.AllMessages != 12 || s.Messages() != 12 || r.Failures() != 0 {
			t.Errorf("%s: %+v, and the server took %d", store, r, s.Messages())
		}
		if r.Percentile(Total, .5) <= 0 || r.Percentile(Auth, .99) <= 0 || r.MBPerSecond() <= 0 {
			t.Errorf("%s: times are missing", store)
		}
		stored(t, store, dir)
	}
}

// stored compares what is on the disk.
func stored(t *testing.T, store, dir string) {
	wire := text("user@example.com", "someone@example.net", 100<<10)
	want := bytes.TrimSuffix(bytes.ReplaceAll(wire, []byte("\n.."), []byte("\n.")), []byte(".\r\n"))
	switch store {
	case "each":
		if got, err := os.ReadFile(filepath.Join(dir, "12")); err != nil || !bytes.Equal(got, want) {
			t.Errorf("message 12 is %d octets, want %d; %v", len(got), len(want), err)
		}
	case "group":
		if got, err := os.ReadFile(filepath.Join(dir, "log")); err != nil || !bytes.Equal(got, bytes.Repeat(want, 12)) {
			t.Errorf("log of %d octets, want %d; %v", len(got), 12*len(want), err)
		}
	}
}

func TestRunPlain(t *testing.T) {
	s, addr := serve(t, least.Options{})
	r, err := Run(t.Context(), Options{Addr: addr, TLS: Plain, From: "a@example.com", Sessions: 2})
	if err != nil || r.Sessions != 2 || s.Messages() != 2 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestFailures(t *testing.T) {
	_, addr := serve(t, least.Options{TLS: tlsConfig(t), User: "user@example.com", Pass: "secret"})
	for want, o := range map[string]Options{
		"auth: 535 5.7.8":  {Addr: addr, User: "user@example.com", Password: "wrong"},
		"connect: refused": {Addr: "127.0.0.1:1", User: "user@example.com"},
	} {
		o.Sessions = 2
		r, err := Run(t.Context(), o)
		if err != nil || r.Sessions != 0 || r.Failed[want] != 2 {
			t.Errorf("want %q: %+v, %v", want, r, err)
		}
	}
	if _, err := Run(t.Context(), Options{}); err == nil {
		t.Error("a run without an end was accepted")
	}
}

func TestIdle(t *testing.T) {
	_, addr := serve(t, least.Options{TLS: tlsConfig(t), User: "user@example.com", Pass: "secret"})
	idle, err := OpenIdle(t.Context(), Options{Addr: addr, User: "user@example.com", Password: "secret", Clients: 4}, 10)
	if err != nil {
		t.Fatal(err)
	}
	if lost := idle.Close(); lost != 0 {
		t.Errorf("%d sessions lost", lost)
	}
	if _, err := OpenIdle(t.Context(), Options{Addr: "127.0.0.1:1", Clients: 4}, 10); err == nil {
		t.Error("no error without a server")
	}
}
