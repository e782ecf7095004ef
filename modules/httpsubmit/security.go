package httpsubmit

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/emersion/go-smtp"
)

// errClear is answered before the credentials are looked at.
var errClear = &smtp.SMTPError{Code: 530, EnhancedCode: smtp.EnhancedCode{5, 7, 0},
	Message: "Must use https: credentials are not taken in clear text (behind a proxy that ends TLS, it must be one of the trusted_proxies and send X-Forwarded-Proto)"}

// secure refuses a request whose credentials may have come in clear text. Of what proxies say only that of
// trusted ones counts; what they do not say for a client is nobody's word.
func secure(r *http.Request) error {
	trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool)
	if proto := lastOf(r.Header.Values("X-Forwarded-Proto")); trusted && proto != "" {
		if strings.EqualFold(proto, "https") {
			return nil
		}
		return errClear
	}
	if r.TLS != nil || isOurs(r.RemoteAddr) && !trusted && !isProxied(r) {
		return nil
	}
	return errClear
}

// isOurs tells whether a connection is from this host: by loopback, or by a unix socket, whose peer has no IP address.
func isOurs(remote string) bool {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		return remote == "" || remote == "@" || strings.HasPrefix(remote, "/") || strings.HasPrefix(remote, "@")
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// isProxied tells whether a proxy on this host hands on what somebody else asks.
func isProxied(r *http.Request) bool {
	return slices.ContainsFunc([]string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Real-Ip", "Via"},
		func(name string) bool { return len(r.Header.Values(name)) > 0 })
}

// lastOf is the last element of a list, which the nearest proxy has added.
func lastOf(values []string) string {
	all := strings.Split(strings.Join(values, ","), ",")
	return strings.TrimSpace(all[len(all)-1])
}

// addressOf is the client's as the web server knows it: behind a trusted proxy, what that says.
func addressOf(r *http.Request) net.Addr {
	ip, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	if addr, err := netip.ParseAddr(ip); err == nil {
		return net.TCPAddrFromAddrPort(netip.AddrPortFrom(addr, 0))
	}
	if addr, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		return net.TCPAddrFromAddrPort(addr)
	}
	return &net.UnixAddr{Name: r.RemoteAddr, Net: "unix"}
}
