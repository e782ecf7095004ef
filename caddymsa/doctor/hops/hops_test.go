package hops

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	gosasl "github.com/emersion/go-sasl"

	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
	"github.com/caddy-msa/caddy-msa/caddymsa/nexthop"
	"github.com/caddy-msa/caddy-msa/caddymsa/nexthop/hoptest"
	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
)

func login(password string) map[string]func() gosasl.Server {
	return map[string]func() gosasl.Server{"PLAIN": func() gosasl.Server {
		return gosasl.NewPlainServer(func(_, _, have string) error {
			if have != password {
				return sasl.ErrCredentials
			}
			return nil
		})
	}}
}

// Each fault of a next hop is named, with a remedy of its own; no message is begun.
func TestFaults(t *testing.T) {
	for name, c := range map[string]struct {
		hop           func(*hoptest.Hop)
		options       func(*nexthop.Options)
		address, host string
		level         doctor.Level
		text, remedy  string
	}{
		"as it should be":  {level: doctor.OK, text: "takes messages (TLS 1.3"},
		"limits":           {hop: func(h *hoptest.Hop) { h.Extensions = []string{"SIZE 104857600", "8BITMIME", "LIMITS RCPTMAX=50"} }, level: doctor.OK, text: "up to 104857600 octets; up to 50 recipients"},
		"small messages":   {hop: func(h *hoptest.Hop) { h.Extensions = []string{"SIZE 1000", "8BITMIME"} }, level: doctor.Warn, text: "up to 1000 octets", remedy: "message_size"},
		"no 8BITMIME":      {hop: func(h *hoptest.Hop) { h.Extensions = []string{"SIZE 52428800"} }, level: doctor.Warn, text: "does not offer 8BITMIME", remedy: "8BITMIME"},
		"refused":          {address: "127.0.0.1:1", level: doctor.Wrong, text: "connection refused", remedy: "start the next hop"},
		"no such host":     {address: "nowhere.invalid:25", level: doctor.Wrong, text: "nowhere.invalid", remedy: "record in DNS"},
		"greeting":         {hop: func(h *hoptest.Hop) { h.Reply = reply("connect", "554 5.7.1 Go away") }, level: doctor.Wrong, text: "554 5.7.1 Go away", remedy: "has against this server"},
		"hangs":            {hop: func(h *hoptest.Hop) { h.Reply = reply("connect", "stall") }, options: func(o *nexthop.Options) { o.Greeting = 50 * time.Millisecond }, level: doctor.Wrong, text: "timeout", remedy: "hangs"},
		"unknown CA":       {options: func(o *nexthop.Options) { o.TLS = &tls.Config{RootCAs: x509.NewCertPool()} }, level: doctor.Wrong, text: "unknown authority", remedy: "with ca"},
		"another name":     {host: "other.example.net", level: doctor.Wrong, text: "other.example.net", remedy: "server_name"},
		"clear at once":    {options: func(o *nexthop.Options) { o.TLSMode = nexthop.TLSImplicit }, level: doctor.Wrong, text: "TLS", remedy: "begins in clear"},
		"no STARTTLS":      {hop: func(h *hoptest.Hop) { h.TLS = nil }, level: doctor.Wrong, text: "does not offer STARTTLS", remedy: "see the log"},
		"wrong password":   {hop: func(h *hoptest.Hop) { h.Auth = login("another") }, options: account, level: doctor.Wrong, text: "535", remedy: "username, password"},
		"the right one":    {hop: func(h *hoptest.Hop) { h.Auth = login("secret") }, options: account, level: doctor.OK, text: "takes messages"},
		"no mechanism":     {options: account, level: doctor.Wrong, text: "504 5.5.4", remedy: "mechanism"},
		"no unix socket":   {address: "/nowhere/lmtp", level: doctor.Wrong, text: "no such file", remedy: "path of its socket"},
		"too many of ours": {hop: func(h *hoptest.Hop) { h.Reply = reply("EHLO msa.example.org", "421 4.7.0 Too many") }, level: doctor.Wrong, text: "421 4.7.0", remedy: "too many connections"},
	} {
		t.Run(name, func(t *testing.T) {
			h := hoptest.New(t, c.hop)
			pem, err := os.ReadFile(h.Root)
			if err != nil {
				t.Fatal(err)
			}
			roots := x509.NewCertPool()
			roots.AppendCertsFromPEM(pem)
			o := &nexthop.Options{TLSMode: nexthop.TLSRequired, TLS: &tls.Config{RootCAs: roots}, Connect: time.Minute, Command: time.Minute, Data: time.Minute, End: time.Minute}
			if c.options != nil {
				c.options(o)
			}
			network, address, host := "tcp", h.Addr, "127.0.0.1"
			if c.address != "" {
				address = c.address
			}
			if strings.HasPrefix(address, "/") {
				network = "unix"
			}
			if c.host != "" {
				host = c.host
			}
			found := Look(t.Context(), nexthop.New(network, address, host, o), "route", "msa.example.org", 52428800)
			if len(found) != 1 || found[0].Level != c.level || !strings.Contains(found[0].Text, c.text) || !strings.Contains(found[0].Remedy, c.remedy) {
				t.Errorf("%+v", found)
			}
			if n := len(h.Messages()); n > 0 {
				t.Errorf("%d messages", n)
			}
		})
	}
}

func account(o *nexthop.Options) {
	o.Login = &nexthop.Login{Mechanisms: []string{gosasl.Plain}, Client: func(context.Context, string, string) (gosasl.Client, error) {
		return gosasl.NewPlainClient("", "gateway", "secret"), nil
	}}
}

func reply(to, what string) func(string) string {
	return func(line string) string {
		if line == to {
			return what
		}
		return ""
	}
}

// It ends when it is told to.
func TestContext(t *testing.T) {
	h := hoptest.New(t, func(h *hoptest.Hop) { h.Reply = reply("connect", "stall") })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if found := Look(ctx, nexthop.New("tcp", h.Addr, "localhost", &nexthop.Options{TLSMode: nexthop.TLSOff, Connect: time.Hour, Command: time.Hour, Data: time.Hour}), "", "", 0); len(found) != 1 || found[0].Level != doctor.Wrong {
		t.Errorf("%+v", found)
	}
}

// A next hop that sends an octet now and then keeps nobody: the visit ends with its context.
func TestDrip(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				for {
					if _, err := conn.Write([]byte("2")); err != nil {
						return
					}
					time.Sleep(10 * time.Millisecond)
				}
			}()
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	found := Look(ctx, nexthop.New("tcp", ln.Addr().String(), "127.0.0.1", &nexthop.Options{Greeting: time.Hour, Connect: time.Hour, Command: time.Hour}), "route relay", "msa.example.org", 0)
	if len(found) != 1 || found[0].Level != doctor.Wrong || !strings.Contains(found[0].Remedy, "hangs") {
		t.Errorf("%+v", found)
	}
}

// A name server that fails is not a host that there is not.
func TestNameServer(t *testing.T) {
	t.Parallel()
	for _, found := range []bool{true, false} {
		n := doctor.About("routes", "route relay")
		unreachable(n, nil, &net.DNSError{Err: "server misbehaving", Name: "smtp.example.net", IsNotFound: !found, IsTemporary: found})
		if f := n.Findings[0]; f.Level != doctor.Wrong || strings.Contains(f.Remedy, "/etc/resolv.conf") != found || !strings.Contains(f.Remedy, "record in DNS") {
			t.Errorf("%t: %+v", found, f)
		}
	}
}
