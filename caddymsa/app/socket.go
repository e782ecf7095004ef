package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// endpointKey is alike for addresses that are one socket, however they are spelled: localhost:587,
// 127.0.0.1:587 and [::ffff:127.0.0.1]:587, or :587 and 0.0.0.0:587.
func endpointKey(na caddy.NetworkAddress) string { return strings.Join(socketKeys(na), " ") }

// socketKeys are what an address takes: two that have one in common cannot both be listened on.
func socketKeys(na caddy.NetworkAddress) []string {
	switch {
	case na.IsFdNetwork():
		return []string{na.String()}
	case na.IsUnixNetwork():
		return []string{"unix/" + socketPath(na.Host)}
	}
	ip, err := netip.ParseAddr(na.Host)
	if err != nil && na.Host != "" {
		// As Listen will: it takes one of a name's addresses.
		a, err := net.ResolveTCPAddr(na.Network, net.JoinHostPort(na.Host, "0"))
		if err != nil {
			return []string{na.String()} // Listen will say so
		}
		ip = a.AddrPort().Addr()
	}
	port := uint16(na.StartPort) //nolint:gosec // a port
	switch ip = ip.Unmap(); {
	case ip.IsValid() && !ip.IsUnspecified():
		return []string{netip.AddrPortFrom(ip, port).String()}
	case na.Network == "tcp4":
		return []string{fmt.Sprintf("0.0.0.0:%d", port)}
	case na.Network == "tcp6":
		return []string{fmt.Sprintf("[::]:%d", port)}
	}
	return []string{fmt.Sprintf("0.0.0.0:%d", port), fmt.Sprintf("[::]:%d", port)}
}

// socketPath is the one path of a unix socket, which may have permissions behind it.
func socketPath(s string) string {
	path, _, _ := strings.Cut(s, "|")
	if strings.HasPrefix(path, "@") { // of the abstract name space
		return path
	}
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	if dir, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
		path = filepath.Join(dir, filepath.Base(path))
	}
	return path
}

// listen opens a socket that the caller owns, and none of this app's endpoints. A TCP port on which another process
// listens is an error: with SO_REUSEPORT, which lets a reload take over from the configuration before, the kernel would
// deal the clients out between both. So is what is at a unix socket's path, but for a socket that was left
// behind: Caddy removes whatever it finds there. ours says that this process listens on the port already.
func listen(na caddy.NetworkAddress, ours bool) (net.Listener, error) {
	var err error
	switch {
	case na.IsUnixNetwork():
		err = checkPath(na)
	case strings.HasPrefix(na.Network, "tcp") && na.StartPort != 0 && !ours:
		err = probe(na)
	}
	if err != nil {
		return nil, err
	}
	// Not the configuration's context: the socket outlives it.
	ln, err := na.Listen(context.Background(), 0, net.ListenConfig{KeepAlive: 75 * time.Second})
	if err != nil {
		return nil, err
	}
	l, ok := ln.(net.Listener)
	if !ok {
		return nil, errors.New("is not a stream socket")
	}
	return l, nil
}

// probe binds an address as nobody else may have it, and gives it back.
func probe(na caddy.NetworkAddress) error {
	ln, err := net.Listen(na.Network, na.JoinHostPort(0))
	if err != nil {
		return bindRemedy(na.StartPort, err)
	}
	return ln.Close()
}

// bindRemedy says what to do about an address that cannot be had.
func bindRemedy(port uint, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("something else listens on port %d of this address already, another process or another app of this configuration; stop it, or choose another port: %w", port, err)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("the user that Caddy runs as may not listen on port %d: give the unit AmbientCapabilities=CAP_NET_BIND_SERVICE, or the program that right (setcap cap_net_bind_service=+ep), or choose a port from 1024 on: %w", port, err)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("this machine does not have the address; a port alone, such as :%d, is on all that it has: %w", port, err)
	}
	return err
}

// checkPath refuses the path of a unix socket at which there is anything but a socket on which nobody listens.
func checkPath(na caddy.NetworkAddress) error {
	path := socketPath(na.Host)
	if strings.HasPrefix(path, "@") { // no file
		return nil
	}
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s exists and is not a socket; remove it, or choose another path", path)
	}
	c, err := net.DialTimeout(na.Network, path, time.Second)
	switch {
	case err == nil:
		_ = c.Close()
	case errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s is another user's socket already; remove it, or choose another path: %w", path, err)
	}
	return fmt.Errorf("something else listens on %s already, another process or another app of this configuration; stop it, or choose another path", path)
}

// holdsPort tells whether this process listens on the port already, at some address: a reload may
// narrow :587 to 127.0.0.1:587, or widen it.
func holdsPort(port uint) (held bool) {
	endpoints.Range(func(_, value any) bool {
		if a, ok := value.(*endpoint).ln.Addr().(*net.TCPAddr); ok && a.Port == int(port) { //nolint:gosec // a port
			held = true
		}
		return !held
	})
	return held
}
