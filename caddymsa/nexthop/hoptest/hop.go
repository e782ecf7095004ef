// Package hoptest is a next hop for tests, which does what the test says.
package hoptest

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	gosasl "github.com/emersion/go-sasl"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
)

// Hop is a next hop on 127.0.0.1, or where At says.
type Hop struct {
	T    testing.TB
	At   string // host:port to listen on
	Addr string // host:port
	Root string // PEM file of its CA

	Extensions []string // what it offers beside STARTTLS and AUTH
	LMTP       bool
	Implicit   bool // TLS from the first octet
	Forget     bool // messages and commands, to cost little
	TLS        *tls.Config
	Auth       map[string]func() gosasl.Server
	// Reply overrides the reply to a command line; "" leaves the usual, "close" closes the connection,
	// "stall" says nothing until the client goes. "." is the end of a message (in LMTP once for each
	// recipient, with that behind), "connect" the greeting, "body" what comes when the message should.
	Reply func(line string) string

	mu       sync.Mutex
	lines    []string // all commands, in order
	messages [][]byte
	conns    int
	remotes  []string
	// Closed gets a value for each connection that ended.
	Closed chan struct{}
}

// Usual is what a hop offers unless the test says otherwise.
var Usual = []string{"PIPELINING", "SIZE 52428800", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES"}

// New starts a hop after set, which may be nil.
func New(t testing.TB, set func(*Hop)) *Hop {
	h := &Hop{T: t, Extensions: Usual, Closed: make(chan struct{}, 10000)}
	h.TLS, h.Root = Certificate(t)
	if set != nil {
		set(h)
	}
	if h.At == "" {
		h.At = "127.0.0.1:0"
	}
	l, err := net.Listen("tcp", h.At)
	if err != nil {
		t.Fatal(err)
	}
	h.Addr = l.Addr().String()
	var wg sync.WaitGroup
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			stop := context.AfterFunc(t.Context(), func() { _ = c.Close() }) // before Cleanup
			wg.Go(func() {
				h.serve(c)
				stop()
				_ = c.Close()
				h.Closed <- struct{}{}
			})
		}
	})
	return h
}

func (h *Hop) serve(c net.Conn) {
	h.mu.Lock()
	h.conns++
	remote, _, _ := net.SplitHostPort(c.RemoteAddr().String())
	h.remotes = append(h.remotes, remote)
	h.mu.Unlock()
	if h.Implicit {
		c = tls.Server(c, h.TLS)
	}
	_, secure := c.(*tls.Conn)
	r := bufio.NewReaderSize(c, 64<<10)
	mail, accepted := false, []string(nil) // MAIL, and recipients
	said := ""                             // last
	say := func(usual, line string) bool {
		reply := ""
		if h.Reply != nil {
			reply = h.Reply(line)
		}
		switch reply {
		case "":
			reply = usual
		case "close":
			return false
		case "stall":
			_, _ = io.Copy(io.Discard, r)
			return false
		}
		switch {
		case strings.HasPrefix(line, "MAIL"):
			mail = reply[0] == '2'
		case strings.HasPrefix(line, "RCPT") && !mail:
			reply = "503 5.5.1 MAIL first"
		case strings.HasPrefix(line, "RCPT") && reply[0] == '2':
			accepted = append(accepted, line)
		}
		said = reply
		_, err := io.WriteString(c, reply+"\r\n")
		return err == nil && !strings.HasPrefix(reply, "421")
	}
	if !say("220 hop.example ESMTP", "connect") {
		return
	}
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimSuffix(line, "\r\n")
		h.mu.Lock()
		if !h.Forget {
			h.lines = append(h.lines, line)
		}
		h.mu.Unlock()
		verb, rest, _ := strings.Cut(line, " ")
		switch strings.ToUpper(verb) {
		case "EHLO", "LHLO":
			if h.LMTP != (verb == "LHLO") {
				if !say("500 5.5.1 not here", "") {
					return
				}
				continue
			}
			ext := append([]string{"hop.example"}, h.Extensions...)
			if !secure && !h.Implicit && h.TLS != nil {
				ext = append(ext, "STARTTLS")
			}
			if len(h.Auth) > 0 {
				names := "AUTH"
				for m := range h.Auth {
					names += " " + m
				}
				ext = append(ext, names)
			}
			greeting := "250-" + strings.Join(ext[:len(ext)-1], "\r\n250-") + "\r\n250 " + ext[len(ext)-1]
			if len(ext) == 1 {
				greeting = "250 " + ext[0]
			}
			if !say(greeting, line) {
				return
			}
		case "STARTTLS":
			if !say("220 go", line) {
				return
			}
			if said[0] != '2' {
				continue
			}
			c = tls.Server(c, h.TLS)
			r.Reset(c)
			secure = true
		case "AUTH":
			if h.replyTo(line) != "" {
				if !say("", line) {
					return
				}
				continue
			}
			if !h.serveAuth(rest, r, c) {
				return
			}
		case "DATA":
			go354 := "354 go"
			recipients := accepted
			if len(recipients) == 0 {
				go354 = "554 5.5.1 no valid recipients"
			}
			accepted = nil
			if !say(go354, line) {
				return
			}
			if said[0] != '3' {
				continue
			}
			switch h.replyTo("body") {
			case "stall":
				<-h.T.Context().Done()
				return
			case "close":
				return
			}
			if h.Forget {
				for end := false; !end; {
					line, err := r.ReadSlice('\n')
					if err != nil {
						return
					}
					end = string(line) == ".\r\n"
				}
			} else {
				m, err := msatest.ReadData(r)
				if err != nil {
					return
				}
				h.mu.Lock()
				h.messages = append(h.messages, m)
				h.mu.Unlock()
			}
			if !h.LMTP && !say("250 2.0.0 queued", ".") {
				return
			}
			for _, to := range recipients {
				if h.LMTP && !say("250 2.0.0 kept", "."+to) {
					return
				}
			}
		case "RSET":
			accepted = nil
			if !say("250 2.0.0 Ok", line) {
				return
			}
		case "QUIT":
			say("221 bye", line)
			return
		default:
			if !say("250 2.0.0 Ok", line) {
				return
			}
		}
	}
}

func (h *Hop) replyTo(line string) string {
	if h.Reply == nil {
		return ""
	}
	return h.Reply(line)
}

func (h *Hop) serveAuth(rest string, r *bufio.Reader, c io.Writer) bool {
	name, ir, has := strings.Cut(rest, " ")
	make := h.Auth[name]
	if make == nil {
		_, err := io.WriteString(c, "504 5.5.4 no such mechanism\r\n")
		return err == nil
	}
	server := make()
	var response []byte
	if has {
		response, _ = base64.StdEncoding.DecodeString(strings.TrimPrefix(ir, "="))
		if response == nil {
			response = []byte{}
		}
	}
	for {
		challenge, done, err := server.Next(response)
		switch {
		case err != nil:
			_, err := io.WriteString(c, "535 5.7.8 no\r\n")
			return err == nil
		case done:
			_, err := io.WriteString(c, "235 2.7.0 yes\r\n")
			return err == nil
		}
		_, _ = io.WriteString(c, "334 "+base64.StdEncoding.EncodeToString(challenge)+"\r\n")
		line, err := r.ReadString('\n')
		if err != nil {
			return false
		}
		response, _ = base64.StdEncoding.DecodeString(strings.TrimSpace(line))
		if response == nil {
			response = []byte{}
		}
	}
}

// Messages returns what has arrived.
func (h *Hop) Messages() [][]byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([][]byte(nil), h.messages...)
}

// Said returns the commands that begin with prefix.
func (h *Hop) Said(prefix string) (lines []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, l := range h.lines {
		if strings.HasPrefix(l, prefix) {
			lines = append(lines, l)
		}
	}
	return lines
}

// Clients are the addresses that connections came from.
func (h *Hop) Clients() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]string(nil), h.remotes...)
}

// Clear forgets the messages.
func (h *Hop) Clear() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.messages = nil
}

// Connections counts those that there were.
func (h *Hop) Connections() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.conns
}

// Certificate makes a server's configuration for 127.0.0.1, and a file with its CA.
func Certificate(t testing.TB) (*tls.Config, string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "hop"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
		DNSNames: []string{"hop.example"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "root.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, file
}

// On has a hop give replies to lines with prefixes, which alternate.
func On(pairs ...string) func(*Hop) {
	return func(h *Hop) {
		h.Reply = func(line string) string {
			for i := 0; i < len(pairs); i += 2 {
				if strings.HasPrefix(line, pairs[i]) {
					return pairs[i+1]
				}
			}
			return ""
		}
	}
}
