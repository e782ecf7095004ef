package app

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"

	"github.com/caddy-msa/caddy-msa/caddymsa"
)

// received is the trace field that stands before an accepted message (RFC 5321
// section 4.4, RFC 3848 and 6531 for the protocol, RFC 8314 section 4.3 for the tls clause).
func (srv *Server) received(sub *caddymsa.Submission, s *session) []byte {
	e := sub.Entry
	var b strings.Builder
	b.WriteString("Received: ")
	if from := srv.receivedFrom(sub.Helo, s.ip); from != "" {
		b.WriteString("from " + from + "\r\n\t")
	}
	protocol := "ESMTPSA"
	if e.SMTPUTF8 {
		protocol = "UTF8SMTPSA"
	}
	fmt.Fprintf(&b, "by %s with %s id %s", srv.Hostname, protocol, e.ID)
	if len(e.Recipients) == 1 {
		fmt.Fprintf(&b, "\r\n\tfor <%s>", e.Recipients[0].Address)
	}
	if state := s.conn.TLS(); state != nil {
		fmt.Fprintf(&b, "\r\n\ttls %s", tls.CipherSuiteName(state.CipherSuite))
	}
	fmt.Fprintf(&b, ";\r\n\t%s\r\n", e.Accepted.Format("Mon, 2 Jan 2006 15:04:05 -0700"))
	return []byte(b.String())
}

// receivedFrom is what the operator wants to be seen of the client.
func (srv *Server) receivedFrom(helo string, ip netip.Addr) string {
	switch srv.Received {
	case "no_client":
		return ""
	case "hashed":
		mac := hmac.New(sha256.New, srv.hashKey)
		mac.Write([]byte(ip.String()))
		return hex.EncodeToString(mac.Sum(nil)[:8]) + ".client.invalid"
	}
	literal := addressLiteral(ip)
	switch {
	case helo == "": // straight after STARTTLS
		return literal
	case literal == helo:
		return helo
	}
	return harmless(helo) + " (" + literal + ")"
}

// harmless makes a word of what a client calls itself, which may be anything printable: what no
// domain and no address literal has becomes an underscore.
func harmless(helo string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= '0' && r <= '9', r >= 'A' && r <= 'Z', r >= 'a' && r <= 'z', strings.ContainsRune("-._:[]", r):
			return r
		}
		return '_'
	}, helo)
}

// addressLiteral is an address as RFC 5321 section 4.1.3 writes it. A unix
// socket's peer is this host.
func addressLiteral(ip netip.Addr) string {
	switch {
	case !ip.IsValid():
		return "[127.0.0.1]"
	case ip.Is6():
		return "[IPv6:" + ip.WithZone("").String() + "]"
	}
	return "[" + ip.String() + "]"
}

// tlsText names a connection's TLS in the log and in entries.
func tlsText(state *tls.ConnectionState) string {
	version := strings.ReplaceAll(tls.VersionName(state.Version), " ", "") // so that there are two words
	return version + " " + tls.CipherSuiteName(state.CipherSuite)
}
