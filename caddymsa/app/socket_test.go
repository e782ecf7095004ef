package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/installed"
)

func address(t *testing.T, s string) caddy.NetworkAddress {
	t.Helper()
	all, err := parseAddresses([]string{s}, 587, false)
	if err != nil || len(all) != 1 {
		t.Fatal(s, err)
	}
	return all[0].NetworkAddress
}

// Two spellings of one socket are refused, two sockets are not.
func TestOneSocket(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		one  bool
	}{
		{"localhost:587", "127.0.0.1:587", true},
		{"localhost", "127.0.0.1:587", true},
		{"[::ffff:127.0.0.1]:587", "127.0.0.1:587", true},
		{"tcp4/127.0.0.1:587", "127.0.0.1:587", true},
		{"[0:0:0:0:0:0:0:1]:587", "[::1]:587", true},
		{":587", "0.0.0.0:587", true},
		{":587", "[::]:587", true},
		{":587", "tcp4/:587", true},
		{"tcp4/:587", "tcp6/:587", false},
		{":587", "127.0.0.1:587", false}, // the more special one gets what is for it
		{":587", ":465", false},
		{"127.0.0.1:587", "127.0.0.2:587", false},
		{"unix//tmp/a.sock", "unix//tmp/../tmp/a.sock|0660", true},
		{"unix//tmp/a.sock", "unix//tmp/b.sock", false},
		{"fd/3", "fd/4", false},
	} {
		app := &App{Servers: map[string]*Server{
			"a.example.org": {addresses: []listenAddress{{address(t, tt.a), false}}},
			"b.example.org": {addresses: []listenAddress{{address(t, tt.b), true}}},
		}}
		err := app.checkAddresses()
		if (err != nil) != tt.one {
			t.Errorf("%s, %s: %v", tt.a, tt.b, err)
		}
		if err != nil && (!strings.Contains(err.Error(), "server b.example.org: ") || !strings.Contains(err.Error(), "of server a.example.org")) {
			t.Error(err)
		}
	}
}

// An address that cannot be had comes with what to do about it.
func TestBindRemedy(t *testing.T) {
	t.Parallel()
	if err := probe(address(t, "192.0.2.1:587")); err == nil || !strings.Contains(err.Error(), "this machine does not have the address; a port alone, such as :587,") {
		t.Error(err)
	}
	denied := &net.OpError{Op: "listen", Net: "tcp", Err: os.NewSyscallError("bind", syscall.EACCES)} // not root's to see
	if err := bindRemedy(587, denied); !strings.Contains(err.Error(), "may not listen on port 587: give the unit AmbientCapabilities=CAP_NET_BIND_SERVICE") || !errors.Is(err, os.ErrPermission) {
		t.Error(err)
	}
}

// What another process listens on, with SO_REUSEPORT as well, is an error that names the address.
func TestPortOfAnotherProcess(t *testing.T) {
	foreign, err := caddy.NetworkAddress{Network: "tcp", Host: "127.0.0.1"}.Listen(context.Background(), 0, net.ListenConfig{})
	if err != nil {
		t.Fatal(err)
	}
	ln := foreign.(net.Listener)
	defer ln.Close()
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	for _, host := range []string{"127.0.0.1", "localhost", ""} {
		na := address(t, net.JoinHostPort(host, port))
		b, err := bind(na, &Server{}, false)
		if err == nil {
			b.release()
			t.Errorf("%s: no error", na)
		} else if !strings.Contains(err.Error(), "listens on port "+port) {
			t.Error(err)
		}
	}
}

// What is at a unix socket's path stays there, but for a socket that a process left behind.
func TestPathOfSomethingElse(t *testing.T) {
	dir := t.TempDir()
	file, live, left := filepath.Join(dir, "file"), filepath.Join(dir, "live"), filepath.Join(dir, "left")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	foreign := listenUnix(t, live)
	listenUnix(t, left).Close()
	for path, want := range map[string]string{file: "exists and is not a socket", live: "something else listens on " + live, left: "", filepath.Join(dir, "new"): ""} {
		b, err := bind(address(t, "unix/"+path), &Server{}, false)
		switch {
		case err != nil && (want == "" || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v", path, err)
		case err == nil:
			if want != "" {
				t.Errorf("%s: no error", path)
			}
			b.release()
		}
	}
	if b, err := os.ReadFile(file); string(b) != "precious" {
		t.Error(err)
	}
	if c, err := net.Dial("unix", live); err != nil {
		t.Error(err)
	} else {
		c.Close()
	}
	foreign.Close()
}

// listenUnix opens a socket that stays at its path.
func listenUnix(t *testing.T, path string) *net.UnixListener {
	t.Helper()
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	ln.SetUnlinkOnClose(false)
	return ln
}

// A reload narrows an address, or widens it, while the one before is still bound.
func TestBindBesideOneself(t *testing.T) {
	wide, err := bind(address(t, fmt.Sprintf(":%d", installed.FreePort(t))), &Server{}, false)
	if err != nil {
		t.Fatal(err)
	}
	defer wide.release()
	_, port, _ := net.SplitHostPort(wide.ep.ln.Addr().String())
	narrow, err := bind(address(t, "127.0.0.1:"+port), &Server{}, false)
	if err != nil {
		t.Fatal(err)
	}
	narrow.release()
}
