package outside

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"io"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/installed"
)

const fakeName = "msa.example.org"

// fake is a server that does all as it should, but for its faults.
type fake struct {
	greeting   string
	config     *tls.Config
	implicit   bool              // TLS from the first octet
	mute       bool              // it says nothing, ever
	deaf       bool              // it closes connections at once
	before     map[string]string // replies before TLS, by verb; "": the line is ignored
	within     map[string]string // replies within TLS
	ehlo       []string          // within TLS
	ehloClear  []string          // before it
	executes   bool              // what follows STARTTLS in clear, within TLS
	clearly    bool              // what follows STARTTLS in clear, in clear
	goesOn     bool              // in clear, after a handshake that failed
	stays      bool              // open and silent, after a handshake that failed
	proxy      bool              // a PROXY header is believed
	hangsUp    bool              // on what is refused before TLS
	few        int               // refused lines that end a connection; 0: none do
	patient    bool              // a line may be as long as it likes
	readsAhead bool              // BDAT's octets are commands
	password   string
	heard      func(verb string) // is told of each command
	taken      []string          // messages
}

func newFake(config *tls.Config) *fake {
	return &fake{
		greeting: "220 " + fakeName + " ESMTP", config: config, password: "secret",
		before: map[string]string{}, within: map[string]string{},
		ehloClear: []string{fakeName, "PIPELINING", "SIZE 52428800", "STARTTLS", "8BITMIME", "AUTH DIGEST-MD5"},
		ehlo:      []string{fakeName, "PIPELINING", "SIZE 52428800", "8BITMIME", "AUTH DIGEST-MD5 PLAIN LOGIN"},
	}
}

// serve returns its address.
func (f *fake) serve(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			go f.converse(nc)
		}
	}()
	return l.Addr().String()
}

type fakeSession struct {
	*fake
	nc         net.Conn
	r          *bufio.Reader
	tls, hello bool
	user       bool
	refused    int
}

func (f *fake) converse(nc net.Conn) {
	s := &fakeSession{fake: f, nc: nc, r: bufio.NewReader(nc)}
	defer func() { s.nc.Close() }()
	switch {
	case f.deaf:
		return
	case f.mute:
		_, _ = io.Copy(io.Discard, nc)
		return
	case f.implicit:
		s.nc = tls.Server(nc, f.config)
		s.r = bufio.NewReader(s.nc)
		s.tls = true
	}
	s.say(f.greeting)
	for {
		line, err := s.readLine()
		if err != nil || !s.command(strings.TrimRight(line, "\r\n")) {
			return
		}
	}
}

// readLine says 421 to a line of more than 64 KiB.
func (s *fakeSession) readLine() (string, error) {
	var line []byte
	for {
		b, err := s.r.ReadByte()
		if err != nil {
			return "", err
		}
		if line = append(line, b); b == '\n' {
			return string(line), nil
		}
		if len(line) > 64<<10 && !s.patient {
			s.say("421 4.7.0 Too long")
			return "", io.EOF
		}
	}
}

func (s *fakeSession) say(line string) { _, _ = io.WriteString(s.nc, line+"\r\n") }

func (s *fakeSession) list(lines []string) {
	for i, l := range lines {
		sep := "-"
		if i == len(lines)-1 {
			sep = " "
		}
		s.say("250" + sep + l)
	}
}

func (s *fakeSession) command(line string) bool {
	verb, rest, _ := strings.Cut(line, " ")
	verb = strings.ToUpper(verb)
	if s.heard != nil {
		s.heard(verb)
	}
	said, given := s.before[verb]
	if s.tls {
		said, given = s.within[verb]
	}
	switch {
	case given:
		if said == "close" {
			return false
		}
		s.say(said)
		if verb == "BDAT" && !s.readsAhead {
			_, _ = io.CopyN(io.Discard, s.r, 6)
		}
		return verb != "QUIT"
	case verb == "NOOP":
		s.say("250 2.0.0 Ok")
	case verb == "QUIT":
		s.say("221 2.0.0 Bye")
		return false
	case verb == "EHLO" && !s.tls:
		s.list(s.ehloClear)
	case verb == "STARTTLS" && !s.tls:
		return s.startTLS()
	case verb == "PROXY" && s.proxy:
	case !s.tls:
		if s.hangsUp {
			return false
		}
		if verb == "BDAT" && !s.readsAhead {
			_, _ = io.CopyN(io.Discard, s.r, 6)
		}
		if s.refused++; s.few > 0 && s.refused > s.few {
			s.say("421 4.7.0 Too many")
			return false
		}
		s.say("530 5.7.0 Must issue a STARTTLS command first")
	case verb == "EHLO":
		s.hello = true
		s.list(s.ehlo)
	case verb == "AUTH" && s.implicit && !s.hello:
		s.say("503 5.5.1 EHLO first")
	case verb == "AUTH":
		s.auth(rest)
	case verb == "RSET":
		s.say("250 2.0.0 Ok")
	case !s.user:
		s.say("530 5.7.0 Authentication required")
	case verb == "MAIL":
		s.say("250 2.1.0 Ok")
	case verb == "RCPT":
		s.say("250 2.1.5 Ok")
	case verb == "DATA":
		s.say("354 Go on")
		var text strings.Builder
		for l, err := s.r.ReadString('\n'); err == nil && l != ".\r\n"; l, err = s.r.ReadString('\n') {
			text.WriteString(l)
		}
		s.taken = append(s.taken, text.String())
		s.say("250 2.0.0 Ok: queued as X")
	default:
		s.say("500 5.5.2 What?")
	}
	return true
}

func (s *fakeSession) startTLS() bool {
	s.say("220 Ready to start TLS")
	early := ""
	if s.r.Buffered() > 0 {
		b, _ := s.r.Peek(s.r.Buffered())
		early = string(b)
		if !s.executes && !s.clearly {
			return false
		}
		_, _ = s.r.Discard(len(b))
	}
	if early != "" && s.clearly {
		s.say("250 2.0.0 Ok")
		_, _ = io.Copy(io.Discard, s.r) // a connection that is closed with octets unread loses what was said
		return false
	}
	first, err := s.r.Peek(1)
	if err == nil && first[0] == 'N' {
		switch {
		case s.goesOn:
			s.say("500 5.5.2 TLS was expected")
			return true
		case s.stays:
			_, _ = io.Copy(io.Discard, s.r)
		}
	}
	conn := tls.Server(readAhead{s.r, s.nc}, s.config)
	if conn.Handshake() != nil {
		return false
	}
	s.nc, s.r, s.tls = conn, bufio.NewReader(conn), true
	if early != "" {
		s.say("250 2.0.0 Ok")
	}
	return true
}

// readAhead gives what was read ahead to the handshake.
type readAhead struct {
	r io.Reader
	net.Conn
}

func (r readAhead) Read(p []byte) (int, error) { return r.r.Read(p) }

func (s *fakeSession) auth(rest string) {
	mechanism, initial, _ := strings.Cut(rest, " ")
	switch mechanism {
	case "":
		s.say("501 5.5.4 Which?")
	case "PLAIN":
		if initial == "" {
			s.say("334 ")
			initial = s.line()
		}
		b, _ := base64.StdEncoding.DecodeString(initial)
		s.judge(bytes.HasSuffix(b, []byte("\x00"+s.password)))
	case "LOGIN":
		s.say("334 VXNlcm5hbWU6")
		s.line()
		s.say("334 UGFzc3dvcmQ6")
		b, _ := base64.StdEncoding.DecodeString(s.line())
		s.judge(string(b) == s.password)
	case "DIGEST-MD5":
		s.say("334 " + base64.StdEncoding.EncodeToString([]byte(`realm="x",nonce="1",qop="auth",algorithm=md5-sess,charset=utf-8`)))
		s.line()
		s.judge(false)
	default:
		s.say("504 5.5.4 What?")
	}
}

func (s *fakeSession) line() string {
	line, _ := s.r.ReadString('\n')
	return strings.TrimSpace(line)
}

func (s *fakeSession) judge(good bool) {
	if s.user = good; good {
		s.say("235 2.7.0 Welcome")
		return
	}
	s.say("535 5.7.8 No")
}

// authority makes certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, pool: x509.NewCertPool()}
	a.key, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Test CA"}, NotBefore: time.Now().Add(-1000 * time.Hour), NotAfter: time.Now().Add(1000 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	a.cert, _ = x509.ParseCertificate(der)
	a.pool.AddCert(a.cert)
	return a
}

// issue makes a certificate, a good one but for what change does.
func (a *authority) issue(change func(*x509.Certificate)) *tls.Config {
	a.t.Helper()
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	template := template(change)
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

func template(change func(*x509.Certificate)) *x509.Certificate {
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: fakeName}, DNSNames: []string{fakeName},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(60 * 24 * time.Hour), KeyUsage: x509.KeyUsageDigitalSignature}
	if change != nil {
		change(template)
	}
	return template
}

// own makes a certificate that is signed by itself, with an RSA key.
func own(t *testing.T, bits int) *tls.Config {
	t.Helper()
	t.Setenv("GODEBUG", "rsa1024min=0")
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	template := template(nil)
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

// silentPort is one at which nobody listens.
func silentPort(t *testing.T) string {
	t.Helper()
	return fmt.Sprintf("127.0.0.1:%d", installed.FreePort(t))
}
