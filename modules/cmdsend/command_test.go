package cmdsend

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/pem"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/installed"
)

var update = flag.Bool("update", false, "write what commands print into testdata")

const evil = "\x1b]0;OWNED\x07\x1b[2J"

// server speaks lines of a script to each client: what it says to a command that begins so. It returns its address and a file with
// its certificate.
func server(t *testing.T, implicit bool, script map[string]string) (address, ca string) {
	t.Helper()
	web := httptest.NewUnstartedServer(nil)
	web.StartTLS()
	t.Cleanup(web.Close)
	ca = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go converse(c, web.TLS, implicit, script)
		}
	}()
	return l.Addr().String(), ca
}

func converse(c net.Conn, config *tls.Config, implicit bool, script map[string]string) {
	defer func() { c.Close() }()
	if implicit {
		c = tls.Server(c, config)
	}
	fmt.Fprintf(c, "%s\r\n", script[""])
	in := bufio.NewScanner(c)
	for data := false; in.Scan(); {
		line := in.Text()
		if data {
			if line == "." {
				data = false
				fmt.Fprintf(c, "%s\r\n", script["."])
			}
			continue
		}
		verb, _, _ := strings.Cut(line, " ")
		fmt.Fprintf(c, "%s\r\n", script[verb])
		switch verb {
		case "STARTTLS":
			c = tls.Server(c, config)
			in = bufio.NewScanner(c)
		case "DATA":
			data = strings.HasPrefix(script["DATA"], "354")
		case "QUIT":
			return
		}
	}
}

func good() map[string]string {
	return map[string]string{
		"": "220 msa.example.org ESMTP" + evil, "EHLO": "250-msa.example.org" + evil + "\r\n250-STARTTLS\r\n250 AUTH PLAIN", "STARTTLS": "220 Go", "AUTH": "235 2.7.0 Welcome" + evil,
		"MAIL": "250 2.1.0 Ok", "RCPT": "250 2.1.5 Ok", "DATA": "354 Go on", ".": "250 2.0.0 Ok: queued as M1", "QUIT": "221 2.0.0 Bye",
	}
}

var octets = regexp.MustCompile(`\d+ octets|TLS 1\.\d, \w+|read tcp \S+: [a-z/ ]+`)

// The dialogue is printed, without passwords and without what would steer a terminal.
func TestSend(t *testing.T) {
	for name, tt := range map[string]struct {
		implicit bool
		change   func(map[string]string)
		args     []string
		fails    bool
	}{
		"starttls":     {false, nil, []string{"--tls", "starttls"}, false},
		"implicit":     {true, nil, []string{"--tls", "implicit"}, false},
		"no_login":     {true, nil, []string{"--tls", "implicit", "--user", "", "--from", "x@example.org"}, false},
		"wrong":        {true, func(s map[string]string) { s["AUTH"] = "535 5.7.8 No" + evil }, []string{"--tls", "implicit"}, true},
		"refused":      {true, func(s map[string]string) { s["RCPT"] = "550 5.1.1 No such mailbox" + evil }, []string{"--tls", "implicit"}, true},
		"no_mechanism": {true, func(s map[string]string) { s["EHLO"] = "250 AUTH X-NEW" }, []string{"--tls", "implicit"}, true},
		"no_recipient": {true, nil, nil, true},
		"no_goodbye":   {true, func(s map[string]string) { s["QUIT"] = "421 4.3.2 Closing" }, []string{"--tls", "implicit"}, false}, // the message was taken
		"forwarded":    {true, func(s map[string]string) { s["RCPT"] = "251 2.1.5 Not here, forwarding" }, []string{"--tls", "implicit"}, false},
		"login": {true, func(s map[string]string) { // its prompts have no one spelling
			s["EHLO"], s["AUTH"] = "250-msa.example.org\r\n250 AUTH LOGIN", "334 VXNlcg=="
			s["YWxpY2VAZXhhbXBsZS5vcmc="], s["czNjcmV0"] = "334 UGFzcw==", "235 2.7.0 Welcome"
		}, []string{"--tls", "implicit"}, false},
		"not_implicit": {false, nil, []string{"--tls", "implicit"}, true},
		"not_starttls": {true, nil, []string{"--tls", "starttls", "--timeout", "2s"}, true},
		"bad_tls":      {true, nil, []string{"--tls", "sometimes"}, true},
	} {
		script := good()
		if tt.change != nil {
			tt.change(script)
		}
		address, ca := server(t, tt.implicit, script)
		t.Setenv("MSA_PASSWORD", "s3cret")
		cmd := newCommand()
		cmd.SilenceErrors, cmd.SilenceUsage = true, true
		var out bytes.Buffer
		cmd.SetOut(&out)
		cmd.SetErr(&out)
		if name != "no_recipient" {
			tt.args = append(tt.args, "--to", "bob@example.net")
		}
		cmd.SetArgs(append([]string{"--server", address, "--ca", ca, "--user", "alice@example.org", "--helo", "client.example"}, tt.args...))
		err := cmd.Execute()
		if (err != nil) != tt.fails || strings.ContainsAny(out.String(), evil[:1]+"\x07") || strings.Contains(out.String(), "s3cret") {
			t.Errorf("%s: %v\n%q", name, err, out.String())
		}
		if err != nil {
			fmt.Fprintln(&out, "Error:", strings.ReplaceAll(err.Error(), evil, ""))
		}
		golden(t, name, octets.ReplaceAllString(out.String(), "<varies>"))
	}
}

// What cannot be an address is found before there is a connection, and where there is none that is said with what to do.
func TestNotSent(t *testing.T) {
	nowhere := fmt.Sprintf("127.0.0.1:%d", installed.FreePort(t))
	t.Setenv("MSA_PASSWORD", "s3cret")
	for to, want := range map[string]string{
		"banana":     `--to: "banana" is not an address, such as bob@example.org`,
		"Postmaster": `--server is its host and port, and "caddy msa doctor" looks into the one that runs here`,
	} {
		cmd := newCommand()
		cmd.SilenceErrors, cmd.SilenceUsage = true, true
		cmd.SetArgs([]string{"--server", nowhere, "--user", "alice@example.org", "--to", to})
		if err := cmd.Execute(); err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%s: %v, want %s", to, err, want)
		}
	}
}

// The handshakes that fail with a server that is new say what to do.
func TestHandshakeRemedies(t *testing.T) {
	t.Parallel()
	trusted, ca := server(t, true, good())
	none, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, io.EOF }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = none.Close() })
	go func() {
		if c, err := none.Accept(); err == nil {
			_ = c.(*tls.Conn).Handshake()
			_ = c.Close()
		}
	}()
	for _, tt := range []struct{ address, ca, want string }{
		{trusted, "", "name the CA's certificate with --ca"},
		{none.Addr().String(), ca, `the server has no certificate to show: its log says why, and so does "caddy msa doctor"`},
	} {
		cmd := newCommand()
		cmd.SilenceErrors, cmd.SilenceUsage = true, true
		cmd.SetOut(io.Discard)
		cmd.SetArgs([]string{"--server", tt.address, "--ca", tt.ca, "--tls", "implicit", "--from", "alice@example.org", "--to", "bob@example.net"})
		if err := cmd.Execute(); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v, want %s", err, tt.want)
		}
	}
}

// A message that comes from standard input is not read for a password: its first line would be sent as one.
func TestPasswordBesideMessage(t *testing.T) {
	t.Setenv("MSA_PASSWORD", "")
	t.Setenv("MSA_TOKEN", "")
	for _, tt := range []struct {
		file, fails string
	}{{"-", "MSA_PASSWORD"}, {"", ""}} {
		o := options{user: "alice@example.org", to: []string{"bob@example.net"}, file: tt.file}
		in := strings.NewReader("From: alice@example.org\n\nhello\n")
		err := o.complete(in)
		if (err != nil) != (tt.fails != "") || err != nil && (!strings.Contains(err.Error(), tt.fails) || in.Len() != int(in.Size()) || o.password != "") {
			t.Errorf("%q: %v, password %q", tt.file, err, o.password)
		}
	}
}

// A host may be written as in URLs, and a port is added to it.
func TestServerAddress(t *testing.T) {
	for server, want := range map[string][2]string{
		"[2001:db8::1]": {"[2001:db8::1]:587", "2001:db8::1"}, "2001:db8::1": {"[2001:db8::1]:587", "2001:db8::1"}, "[2001:db8::1]:465": {"[2001:db8::1]:465", "2001:db8::1"},
		"msa.example.org": {"msa.example.org:587", "msa.example.org"},
	} {
		o := options{server: server, to: []string{"bob@example.net"}}
		if err := o.complete(strings.NewReader("")); err != nil || o.server != want[0] || o.serverName != want[1] {
			t.Errorf("%s: %q, %q, %v", server, o.server, o.serverName, err)
		}
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".txt")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || string(want) != got {
		t.Errorf("%s: %v, have\n%s", name, err, got)
	}
}

// What an editor of Windows saved is the message that it shows.
func TestFileOfAnEditor(t *testing.T) {
	o := &options{file: "-"}
	for text, want := range map[string]string{"\ufeffSubject: x\r\n\r\nbody": "Subject: x\r\n\r\nbody\r\n", "\xff\xfeS\x00": ""} {
		if got, err := o.message(strings.NewReader(text), time.Now()); string(got) != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
}
