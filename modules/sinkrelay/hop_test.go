package sinkrelay

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
	"github.com/caddy-msa/caddy-msa/caddymsa/nexthop"
)

// hop is a next hop that does what the test says.
type hop struct {
	t    testing.TB
	addr string
	root string // PEM file of its CA

	extensions []string
	implicit   bool
	forget     bool // messages and commands
	tls        *tls.Config
	auth       map[string]func() gosasl.Server
	// reply overrides the reply to a command line; "" leaves the usual, "close"
	// closes the connection, "stall" says nothing until the client goes.
	// "." is the end of a message, "connect" the greeting.
	reply func(line string) string

	mu       sync.Mutex
	lines    []string // all commands, in order
	messages [][]byte
	conns    int
	remotes  []string
	closed   chan struct{} // one for each connection that ended
}

var usual = []string{"PIPELINING", "SIZE 52428800", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES"}

func newHop(t testing.TB, set func(*hop)) *hop {
	h := &hop{t: t, extensions: usual, closed: make(chan struct{}, 10000)}
	h.tls, h.root = certificate(t)
	if set != nil {
		set(h)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h.addr = l.Addr().String()
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
				h.closed <- struct{}{}
			})
		}
	})
	return h
}

func (h *hop) serve(c net.Conn) {
	h.mu.Lock()
	h.conns++
	remote, _, _ := net.SplitHostPort(c.RemoteAddr().String())
	h.remotes = append(h.remotes, remote)
	h.mu.Unlock()
	if h.implicit {
		c = tls.Server(c, h.tls)
	}
	_, secure := c.(*tls.Conn)
	r := bufio.NewReaderSize(c, 64<<10)
	mail, accepted := false, 0 // recipients
	say := func(usual, line string) bool {
		reply := ""
		if h.reply != nil {
			reply = h.reply(line)
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
			accepted++
		}
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
		if !h.forget {
			h.lines = append(h.lines, line)
		}
		h.mu.Unlock()
		verb, rest, _ := strings.Cut(line, " ")
		switch strings.ToUpper(verb) {
		case "EHLO":
			ext := append([]string{"hop.example"}, h.extensions...)
			if !secure && !h.implicit && h.tls != nil {
				ext = append(ext, "STARTTLS")
			}
			if len(h.auth) > 0 {
				names := "AUTH"
				for m := range h.auth {
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
			c = tls.Server(c, h.tls)
			r.Reset(c)
			secure = true
		case "AUTH":
			if !h.serveAuth(rest, r, c) {
				return
			}
		case "DATA":
			go354 := "354 go"
			if accepted == 0 {
				go354 = "554 5.5.1 no valid recipients"
			}
			accepted = 0
			if !say(go354, line) {
				return
			}
			if h.replyTo(line) != "" || go354[0] != '3' {
				continue
			}
			if h.replyTo("body") == "stall" {
				<-h.t.Context().Done()
				return
			}
			if h.forget {
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
			if !say("250 2.0.0 queued", ".") {
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

func (h *hop) replyTo(line string) string {
	if h.reply == nil {
		return ""
	}
	return h.reply(line)
}

func (h *hop) serveAuth(rest string, r *bufio.Reader, c io.Writer) bool {
	name, ir, has := strings.Cut(rest, " ")
	make := h.auth[name]
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

// sink returns a relay to the hop.
func (h *hop) sink(set func(*Relay)) *Relay {
	h.t.Helper()
	r := &Relay{Host: h.addr, CA: []string{h.root}}
	if h.implicit {
		r.TLS = nexthop.TLSImplicit
	}
	if set != nil {
		set(r)
	}
	if err := r.Provision(caddyContext); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = r.Cleanup() })
	return r
}

func (h *hop) fetch() [][]byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([][]byte(nil), h.messages...)
}

// said returns the commands that begin with prefix.
func (h *hop) said(prefix string) (lines []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, l := range h.lines {
		if strings.HasPrefix(l, prefix) {
			lines = append(lines, l)
		}
	}
	return lines
}

// clients are the addresses that connections came from.
func (h *hop) clients() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]string(nil), h.remotes...)
}

func (h *hop) connections() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.conns
}

// certificate makes a server's configuration for 127.0.0.1, and a file with its CA.
func certificate(t testing.TB) (*tls.Config, string) {
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
