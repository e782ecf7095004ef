package integration

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// ports are the two ways into TLS.
var ports = []string{"STARTTLS", "implicit TLS"}

// dial goes one of the ways, up to where AUTH may come.
func (s *server) dial(port string, config *tls.Config) (*talker, error) {
	address, first := s.implicit, config
	if port == "STARTTLS" {
		address, first = s.starttls, nil
	}
	c, err := connect("tcp", address, first)
	if err != nil {
		return nil, err
	}
	err = c.do("250", "EHLO client.example.org")
	if err == nil && first == nil {
		err = c.starttls(config, nil)
	}
	if err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// withFiles is a server whose certificate is in cert.pem and key.pem.
func withFiles(t *testing.T) (*server, *tls.Config) {
	t.Helper()
	s := newServer(t)
	selfSigned(t, hostname, filepath.Join(s.dir, "cert.pem"), filepath.Join(s.dir, "key.pem"))
	s.write("Caddyfile", s.caddyfile(layout{tls: "tls $DIR/cert.pem $DIR/key.pem"}))
	s.writeUsers("")
	s.run()
	return s, &tls.Config{RootCAs: poolOf(t, filepath.Join(s.dir, "cert.pem")), ServerName: hostname}
}

// whatever name and protocols a client puts into its first message, it gets
// the hostname's certificate and can log in. Old clients and devices send no name, those
// behind a load balancer another one, and some offer a protocol.
func TestHello(t *testing.T) {
	t.Parallel()
	managed := start(t, layout{})
	files, filesTrust := withFiles(t)
	for _, server := range []struct {
		certificate string
		*server
		trust *tls.Config
	}{
		{"managed", managed, managed.tlsConfig()},
		{"in files", files, filesTrust},
	} {
		for _, hello := range []struct {
			what, sni string
			protocols []string
		}{
			{"its name", hostname, nil},
			{"its name in capitals", strings.ToUpper(hostname), nil},
			{"no name", "", nil},
			{"another name", "lb.example.org", nil},
			{"a name below its own", "smtp." + hostname, nil},
			{"a container's name", "mail_relay", nil},
			{"no name at all", "a..b", nil},
			{"what IDNA refuses", "xn--a.example", nil},
			{"ALPN smtp", hostname, []string{"smtp"}},
			{"ALPN h2", hostname, []string{"h2", "http/1.1"}},
			{"no name, ALPN smtp", "", []string{"smtp"}},
			{"another name, ALPN h2", "lb.example.org", []string{"h2"}},
		} {
			for _, port := range ports {
				for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
					name := fmt.Sprintf("%s/%s/%s/%s", server.certificate, hello.what, port, tls.VersionName(version))
					t.Run(name, func(t *testing.T) {
						c, err := server.dial(port, &tls.Config{
							ServerName: hello.sni, NextProtos: hello.protocols, MinVersion: version, MaxVersion: version,
							InsecureSkipVerify: true, // since the name asked for is not the one wanted
							VerifyConnection: func(state tls.ConnectionState) error {
								options := x509.VerifyOptions{Roots: server.trust.RootCAs, DNSName: hostname, Intermediates: x509.NewCertPool()}
								for _, cert := range state.PeerCertificates[1:] {
									options.Intermediates.AddCert(cert)
								}
								_, err := state.PeerCertificates[0].Verify(options)
								return err
							},
						})
						if err != nil {
							t.Fatal(err)
						}
						defer c.close()
						if err := c.login("alice@example.org", "secret"); err != nil {
							t.Error(err)
						}
						if got := c.nc.(*tls.Conn).ConnectionState().NegotiatedProtocol; got == "h2" || got == "http/1.1" {
							t.Errorf("a mail server agreed to speak %s", got)
						}
					})
				}
			}
		}
	}
}

// OpenSSL as the client: TLS 1.2 and 1.3 on both ports, nothing older.
func TestVersions(t *testing.T) {
	t.Parallel()
	openssl := need(t, "openssl")
	s := start(t, layout{})
	for _, port := range ports {
		way := []string{"-connect", s.implicit}
		if port == "STARTTLS" {
			way = []string{"-connect", s.starttls, "-starttls", "smtp"}
		}
		for option, want := range map[string]string{
			"-tls1": "alert protocol version", "-tls1_1": "alert protocol version",
			"-tls1_2": "TLSv1.2, Cipher is ECDHE", "-tls1_3": "TLSv1.3, Cipher is TLS_",
		} {
			t.Run(port+option, func(t *testing.T) {
				cmd := exec.Command(openssl, append([]string{"s_client", option, "-cipher", "DEFAULT@SECLEVEL=0", "-servername", hostname,
					"-CAfile", s.root(), "-verify_hostname", hostname, "-verify_return_error", "-crlf", "-ign_eof"}, way...)...)
				cmd.Stdin = strings.NewReader("EHLO client.example.org\nQUIT\n")
				out, err := cmd.CombinedOutput()
				if refused := strings.HasPrefix(want, "alert"); refused != (err != nil) {
					t.Errorf("openssl: %v", err)
				} else if greeted := bytes.Contains(out, []byte("\n221 ")); greeted == refused {
					t.Errorf("a session: %v", greeted)
				}
				if !bytes.Contains(out, []byte(want)) {
					t.Errorf("not in the output: %s", want)
				}
				if t.Failed() {
					t.Logf("%s", out)
				}
			})
		}
	}
}

// a handshake that fails ends the connection, and all that the server said in it
// is TLS.
func TestFailedHandshake(t *testing.T) {
	t.Parallel()
	s := start(t, layout{})
	handshake := func(config *tls.Config) func(net.Conn) {
		return func(nc net.Conn) {
			if err := tls.Client(nc, config).Handshake(); err == nil {
				t.Error("the handshake succeeded")
			}
		}
	}
	for name, begin := range map[string]func(net.Conn){
		"an old version":                  handshake(&tls.Config{InsecureSkipVerify: true, ServerName: hostname, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}),
		"a client that does not trust us": handshake(&tls.Config{RootCAs: x509.NewCertPool(), ServerName: hostname}),
		"the same in TLS 1.2":             handshake(&tls.Config{RootCAs: x509.NewCertPool(), ServerName: hostname, MaxVersion: tls.VersionTLS12}),
		"no cipher in common": handshake(&tls.Config{
			InsecureSkipVerify: true, ServerName: hostname, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_RSA_WITH_RC4_128_SHA},
		}),
		"SMTP in clear":       func(nc net.Conn) { _, _ = io.WriteString(nc, "EHLO client.example.org\r\nNOOP\r\n") },
		"half a record":       func(nc net.Conn) { _, _ = io.WriteString(nc, "\x16\x03\x01\x02\x00\x01\x00"); halfClose(nc) },
		"garbage in a record": func(nc net.Conn) { _, _ = io.WriteString(nc, "\x16\x03\x01\x00\x05NOOP\n") },
	} {
		for _, port := range ports {
			t.Run(name+"/"+port, func(t *testing.T) {
				nc, err := net.Dial("tcp", s.implicit)
				if port == "STARTTLS" {
					var c *talker
					if c, err = connect("tcp", s.starttls, nil); err == nil {
						nc, err = c.nc, c.do("220", "STARTTLS")
					}
				}
				if err != nil {
					t.Fatal(err)
				}
				defer nc.Close()
				_ = nc.SetDeadline(time.Now().Add(patience))
				said := &recorder{Conn: nc}
				begin(said)
				// The client is patient: it neither closes nor, but for this, speaks.
				_, _ = io.WriteString(nc, "QUIT\r\n")
				if _, err := io.Copy(io.Discard, said); errors.Is(err, os.ErrDeadlineExceeded) {
					t.Error("the connection stays open")
				}
				for rest := said.octets(); len(rest) > 0; {
					if len(rest) < 5 || rest[0] < 20 || rest[0] > 23 || rest[1] != 3 {
						t.Fatalf("not TLS: %q", rest)
					}
					rest = rest[min(5+int(rest[3])<<8+int(rest[4]), len(rest)):]
				}
			})
		}
	}
	s.logged("TLS handshake")
	if c, err := s.alice(s.tlsConfig()); err != nil {
		t.Error("after all that:", err)
	} else {
		c.close()
	}
}

// halfClose ends what the client says.
func halfClose(nc net.Conn) {
	if r, ok := nc.(*recorder); ok {
		nc = r.Conn
	}
	_ = nc.(*net.TCPConn).CloseWrite()
}

// recorder keeps what was read.
type recorder struct {
	net.Conn
	mu   sync.Mutex
	read bytes.Buffer
}

func (r *recorder) Read(p []byte) (int, error) {
	n, err := r.Conn.Read(p)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.read.Write(p[:n])
	return n, err
}

func (r *recorder) octets() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return bytes.Clone(r.read.Bytes())
}
