package app

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"net/netip"
	"strings"

	"github.com/caddy-msa/caddy-msa/caddymsa"
)

// received is the trace field that stands before an accepted message (RFC 5321
// section 4.4, RFC 3848 and 6531 for the protocol, RFC 8314 section 4.3 for the tls clause).
func (srv *Server) received(sub *caddymsa.Submission, s *session) []byte {
	e := sub.Entry
	b := make([]byte, 0, 320)
	b = append(b, "Received: "...)
	if from := srv.receivedFrom(sub.Helo, s.ip); from != "" {
		b = append(append(append(b, "from "...), from...), "\r\n\t"...)
	}
	b = append(append(b, "by "...), srv.Hostname...)
	if protocol := s.protocol(e.SMTPUTF8); protocol != "" {
		b = append(append(b, " with "...), protocol...)
	}
	b = append(append(b, " id "...), e.ID...)
	if len(e.Recipients) == 1 {
		b = append(append(append(b, "\r\n\tfor <"...), e.Recipients[0].Address...), '>')
	}
	if version := s.tlsText(); version != "" {
		cipher := version[strings.LastIndexByte(version, ' ')+1:]
		b = append(append(b, "\r\n\ttls "...), cipher...)
	}
	b = append(b, ";\r\n\t"...)
	b = e.Accepted.AppendFormat(b, "Mon, 2 Jan 2006 15:04:05 -0700")
	return append(b, "\r\n"...)
}

// protocol is how a message came, in a word of IANA's registry (Mail Transmission Types, WITH protocol types). That has none
// for HTTP.
func (s *session) protocol(utf8 bool) string {
	switch _, ofWebSite := s.client.(*request); {
	case ofWebSite:
		return ""
	case utf8:
		return "UTF8SMTPSA"
	}
	return "ESMTPSA"
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
// domain and no address literal has becomes an underscore, and so do brackets that are not round all of it.
func harmless(helo string) string {
	if inner, ok := strings.CutPrefix(helo, "["); ok {
		if inner, ok = strings.CutSuffix(inner, "]"); ok {
			return "[" + plain(inner) + "]"
		}
	}
	return plain(helo)
}

func plain(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= '0' && r <= '9', r >= 'A' && r <= 'Z', r >= 'a' && r <= 'z', strings.ContainsRune("-._:", r):
			return r
		}
		return '_'
	}, s)
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

// tlsText names the connection's TLS in the log and in entries: its version and its cipher, two words,
// such as TLS1.3 TLS_AES_128_GCM_SHA256.
// It is empty before the handshake.
func (s *session) tlsText() string {
	if state := s.client.TLS(); s.tls == "" && state != nil {
		s.tls = strings.ReplaceAll(tls.VersionName(state.Version), " ", "") + " " + suiteName(state.CipherSuite)
	}
	return s.tls
}

// suiteNames spares each session what tls.CipherSuiteName does: it makes lists.
var suiteNames = func() map[uint16]string {
	names := make(map[uint16]string)
	for _, s := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		names[s.ID] = s.Name
	}
	return names
}()

func suiteName(id uint16) string {
	if name := suiteNames[id]; name != "" {
		return name
	}
	return tls.CipherSuiteName(id)
}
