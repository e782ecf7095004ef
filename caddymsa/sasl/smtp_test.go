package sasl

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/installed"
)

// authServer speaks as much SMTP as it takes to log in, over STARTTLS.
type authServer struct {
	addr string
	tls  *tls.Config
	make func(mechanism string, state *tls.ConnectionState) sasl.Server

	mu    sync.Mutex
	ended []error // how each exchange ended
}

func newAuthServer(t *testing.T, version uint16, make func(string, *tls.ConnectionState) sasl.Server) *authServer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &authServer{addr: listener.Addr().String(), make: make}
	s.tls = &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		MinVersion:   tls.VersionTLS12, MaxVersion: version,
	}
	done := acceptAll(listener, s.serve)
	t.Cleanup(func() {
		listener.Close()
		<-done
	})
	return s
}

// acceptAll accepts until the listener closes and serves one client at a time.
func acceptAll(listener net.Listener, serve func(net.Conn)) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serve(conn)
			conn.Close()
		}
	}()
	return done
}

func (s *authServer) serve(conn net.Conn) {
	_ = conn.SetDeadline(time.Now().Add(2 * time.Minute))
	in := bufio.NewReader(conn)
	var state *tls.ConnectionState
	fmt.Fprint(conn, "220 localhost ESMTP\r\n")
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		switch words := strings.Fields(line); {
		case len(words) == 0:
			fmt.Fprint(conn, "500 what?\r\n")
		case strings.EqualFold(words[0], "EHLO"):
			fmt.Fprintf(conn, "250-localhost\r\n250-STARTTLS\r\n250 AUTH %s\r\n", strings.Join(Names(), " "))
		case strings.EqualFold(words[0], "STARTTLS"):
			fmt.Fprint(conn, "220 go\r\n")
			secure := tls.Server(conn, s.tls)
			if secure.Handshake() != nil {
				return
			}
			cs := secure.ConnectionState()
			conn, in, state = secure, bufio.NewReader(secure), &cs
		case strings.EqualFold(words[0], "AUTH"):
			err := s.auth(conn, in, words[1:], state)
			s.mu.Lock()
			s.ended = append(s.ended, err)
			s.mu.Unlock()
			if err != nil {
				fmt.Fprint(conn, "535 5.7.8 no\r\n")
			} else {
				fmt.Fprint(conn, "235 2.7.0 yes\r\n")
			}
		case strings.EqualFold(words[0], "NOOP"):
			fmt.Fprint(conn, "250 2.0.0 ok\r\n")
		case strings.EqualFold(words[0], "QUIT"):
			fmt.Fprint(conn, "221 bye\r\n")
			return
		default:
			fmt.Fprint(conn, "502 no\r\n")
		}
	}
}

func (s *authServer) auth(conn net.Conn, in *bufio.Reader, words []string, state *tls.ConnectionState) error {
	server := s.make(words[0], state)
	if server == nil {
		return errors.New("no such mechanism")
	}
	var response []byte
	if len(words) > 1 {
		response = []byte{}
		if words[1] != "=" {
			response, _ = base64.StdEncoding.DecodeString(words[1])
		}
	}
	for {
		challenge, done, err := server.Next(response)
		if done || err != nil {
			return err
		}
		fmt.Fprintf(conn, "334 %s\r\n", base64.StdEncoding.EncodeToString(challenge))
		line, err := in.ReadString('\n')
		if err != nil {
			return err
		}
		if response, err = base64.StdEncoding.DecodeString(strings.TrimSpace(line)); err != nil {
			return err
		}
	}
}

// last waits for no one: the client has heard the reply by now.
func (s *authServer) last() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.ended) == 0 {
		return errors.New("no exchange")
	}
	return s.ended[len(s.ended)-1]
}

// mechanisms for alice, who exists with the password given.
func mechanisms(t *testing.T, user, password string) func(string, *tls.ConnectionState) sasl.Server {
	t.Helper()
	p := passwords{user: user, password: password}
	credential, err := NewSCRAMCredential(password, []byte("salt of sixteen!"), 4096)
	if err != nil {
		t.Fatal(err)
	}
	scramConfig := SCRAMConfig{PlusAnnounced: true, Lookup: func(u string) (SCRAMCredential, error) {
		if u != user {
			return SCRAMCredential{}, ErrCredentials
		}
		return credential, nil
	}}
	return func(mechanism string, state *tls.ConnectionState) sasl.Server {
		switch mechanism {
		case Plain:
			return NewPlain(p.check)
		case Login:
			return NewLogin(p.check)
		case External:
			return NewExternal(func() (string, error) { return user, nil })
		case DigestMD5:
			return NewDigestMD5(DigestConfig{
				Realms: []string{"example.org", "localhost"}, Hosts: []string{"localhost", "127.0.0.1"},
				Verify: func(r *DigestResponse) error {
					if r.User == user && r.MatchesPassword(password) {
						return nil
					}
					return ErrCredentials
				},
			})
		case SCRAMSHA256:
			return NewSCRAM(scramConfig)
		case SCRAMSHA256Plus:
			config := scramConfig
			binding, err := TLSExporter(state)
			if err != nil {
				return nil
			}
			config.Plus, config.Binding = true, binding
			return NewSCRAM(config)
		}
		return nil
	}
}

// GNU SASL's client, which shares no code with ours, over real TLS.
func TestGsasl(t *testing.T) {
	gsasl := installed.Need(t, "gsasl")
	for _, test := range []struct {
		mechanism, user, password string
	}{
		{Plain, "alice", "secret"},
		{Plain, "alice@example.org", "gehe\u00efmn\u00efs \u20ac"},
		{Login, "alice", "secret"},
		{DigestMD5, "alice", "secret"},
		{DigestMD5, "alice@example.org", "secret"},
		{DigestMD5, "j\u00fcrgen", "gehe\u00efm"},
		{DigestMD5, "\u044e\u0440\u0430", "\u20ac 12"},
		{SCRAMSHA256, "alice", "secret"},
		{SCRAMSHA256, "a,b=c", "gehe\u00efm"},
		{SCRAMSHA256Plus, "alice", "secret"},
		{External, "alice", "secret"},
	} {
		for _, right := range []bool{true, false} {
			if !right && test.mechanism == External {
				continue
			}
			t.Run(fmt.Sprintf("%s/%s/%v", test.mechanism, test.user, right), func(t *testing.T) {
				t.Parallel() // it takes its time to end
				s := newAuthServer(t, tls.VersionTLS13, mechanisms(t, test.user, test.password))
				password := test.password
				if !right {
					password += "x"
				}
				args := []string{"--client", "--smtp", "--connect", s.addr, "--starttls", "--x509-ca-file=",
					"--mechanism", test.mechanism, "--authentication-id", test.user, "--password", password,
					"--realm", "example.org", "--hostname", "localhost", "--service", "smtp",
					"--quality-of-protection", "qop-auth", "--no-client-first"}
				if test.mechanism == SCRAMSHA256 {
					args = append(args, "--no-cb")
				}
				if test.mechanism == External {
					args = append(args, "--authorization-id=")
				}
				cmd := exec.CommandContext(t.Context(), gsasl, args...)
				cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
				out, runErr := cmd.CombinedOutput()
				err := s.last()
				if right && (err != nil || runErr != nil) || !right && !errors.Is(err, ErrCredentials) {
					t.Errorf("%v, gsasl: %v\n%s", err, runErr, out)
				}
			})
		}
	}
}

// Our clients through go-smtp's, as `caddy msa send` uses them.
func TestClientsOverSMTP(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		s := newAuthServer(t, version, mechanisms(t, "alice", "secret"))
		for _, mechanism := range []string{DigestMD5, SCRAMSHA256, SCRAMSHA256Plus} {
			for password, want := range map[string]error{"secret": nil, "wrong": ErrCredentials} {
				err := logIn(t, s.addr, mechanism, "alice", password)
				if (err == nil) != (want == nil) || !errors.Is(s.last(), want) {
					t.Errorf("%s %s: client %v, server %v", mechanism, password, err, s.last())
				}
			}
		}
	}
}

func logIn(t *testing.T, addr, mechanism, user, password string) error {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client, err := smtp.NewClientStartTLS(conn, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	var auth sasl.Client
	switch mechanism {
	case DigestMD5:
		auth = NewDigestMD5Client(user, password, "", "localhost")
	case SCRAMSHA256:
		auth, err = NewSCRAMClient(user, password)
	case SCRAMSHA256Plus:
		if err := client.Noop(); err != nil { // go-smtp shakes hands with its next command only
			t.Fatal(err)
		}
		state, _ := client.TLSConnectionState()
		binding, exportErr := TLSExporter(&state)
		if exportErr != nil {
			t.Fatal(exportErr)
		}
		auth, err = NewSCRAMPlusClient(user, password, binding)
	}
	if err != nil {
		t.Fatal(err)
	}
	return client.Auth(auth)
}
