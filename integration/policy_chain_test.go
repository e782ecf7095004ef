package integration

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// localPolicies ask nobody; all of them look at every message.
const localPolicies = `
	policy duplicate
	policy size 50MiB
	policy recipients {
		allow *
		deny  root@example.net
	}
	policy rate_limit {
		messages 100000000
		bytes    1000GiB
		window   1h
	}
	policy time_window {
		allow mon-sun
	}
	policy content {
		require_headers From
		media_types     allow multipart/mixed application/xml text/plain
		file_names      forbid *.exe
		well_formed_xml
	}
	policy expression require "size < 60000000 && parts.size() < 5"
	policy headers {
		require     From
		add_missing Date Message-ID
	}
	policy dkim {
		key example.org rsa $DIR/rsa.pem
	}`

// peakMemory is the most memory that the server ever had, in octets.
func (s *server) peakMemory() int64 {
	s.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		s.t.Fatal(err)
	}
	m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(status)
	n, err := strconv.ParseInt(string(m[1]), 10, 64)
	if err != nil {
		s.t.Fatal(err)
	}
	return n << 10
}

// A message of 50 MiB goes through every policy that streams, those that ask somebody else included,
// and the process grows by less than 8 MiB over what messages of 1 MiB take.
func TestLargeMessageThroughPolicies(t *testing.T) {
	t.Parallel()
	clamd := newDaemon(t, map[string]string{
		"db/test.ndb": fmt.Sprintf("Eicar-Test-Signature:0:*:%x\n", eicar[:40]),
		"conf":        "LocalSocket $D/socket\nDatabaseDirectory $D/db\nForeground yes\nUser $USER\nStreamMaxLength 100M\nMaxScanSize 100M\nMaxFileSize 100M\nMaxScanTime 0\nReadTimeout 600\nCommandReadTimeout 600\n",
	}, need(t, "clamd"), "--config-file", "$D/conf").run()
	opendkim := newDaemon(t, map[string]string{"conf": "Mode s\nSyslog no\nUserID $USER\nSocket local:$D/socket\nDomain example.org\nSelector s\nKeyFile $D/key\nRequireSafeKeys no\n"},
		need(t, "opendkim"), "-f", "-x", "$D/conf")
	dkimKey(t, filepath.Join(opendkim.dir, "key"))
	opendkim.run()
	var asked int64
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"action":"accept"}`)
	}))
	defer service.Close()

	s := newServer(t)
	dkimKey(t, filepath.Join(s.dir, "rsa.pem"))
	s.write("Caddyfile", s.caddyfile(layout{msa: localPolicies + `
	policy clamav unix/` + clamd.socket + ` {
		timeout 5m
	}
	policy milter unix/` + opendkim.socket + ` {
		timeout     5m
		end_timeout 5m
	}
	policy http ` + service.URL + ` {
		content
		timeout 5m
		hmac_key 0123456789abcdef0123456789abcdef
	}`}))
	s.writeUsers("")
	s.run()
	trust := s.tlsConfig()
	for i := range 10 {
		submitXML(t, s, trust, 1<<20+i)
	}
	before := s.peakMemory()
	const size = 50 << 20
	submitXML(t, s, trust, size)
	if asked < size-1<<10 {
		t.Errorf("the web service got %d octets", asked)
	}
	if grown := s.peakMemory() - before; grown > 8<<20 {
		t.Errorf("the process grew by %d KiB, from %d KiB", grown>>10, before>>10)
	} else {
		t.Logf("the process grew by %d KiB, from %d KiB", grown>>10, before>>10)
	}
	got := s.mail("bob@example.net", 11)
	last := got[len(got)-1]
	if len(last) < size-1<<10 || bytes.Count(last, []byte("DKIM-Signature:")) != 2 {
		t.Errorf("delivered %d octets:\n%.2000s", len(last), last)
	}
}

// submitXML submits a message with an XML document in base64 that has some size octets in all.
func submitXML(t testing.TB, s *server, trust *tls.Config, size int) {
	t.Helper()
	c, err := s.as(trust, "alice@example.org")
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	if err := all(func() error { return c.envelope("alice@example.org", "bob@example.net") }, func() error { return c.do("354", "DATA") }); err != nil {
		t.Fatal(err)
	}
	w := bufio.NewWriter(connWriter{c.nc})
	fmt.Fprintf(w, "From: alice@example.org\r\nSubject: %d\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nHello\r\n--b\r\nContent-Type: application/xml; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename=d.xml\r\n\r\n", size)
	line := base64.StdEncoding.EncodeToString([]byte("<a b='c'><t>0123456789 0123456789 0123456789 012</t></a>\n"))
	open, end := base64.StdEncoding.EncodeToString([]byte("<all>\n")), base64.StdEncoding.EncodeToString([]byte("</all>"))
	fmt.Fprintf(w, "%s\r\n", open)
	for n := 500; n+len(line)+2 < size; n += len(line) + 2 {
		fmt.Fprintf(w, "%s\r\n", line)
	}
	fmt.Fprintf(w, "%s\r\n--b--\r\n.\r\n", end)
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	c.wait = 5 * time.Minute // clamd and others read 50 MiB, on a busy machine
	if err := c.want("250 2.0.0 "); err != nil {
		t.Fatal(err)
	}
}

// connWriter has no ReadFrom, so that a bufio.Writer's buffer is what bounds a write.
type connWriter struct{ nc net.Conn }

func (w connWriter) Write(p []byte) (int, error) { return w.nc.Write(p) }

// BenchmarkPolicies is what a whole submission on an open connection costs, without policies and with all that
// ask nobody, beside each other.
func BenchmarkPolicies(b *testing.B) {
	message := "From: alice@example.org\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\n" +
		strings.Repeat("Hello, this is a line of text that is not too long.\r\n", 60) + "--b\r\nContent-Type: application/xml\r\n\r\n<all>" + strings.Repeat("<a b='c'>text</a>\r\n", 40) + "</all>\r\n--b--\r\n"
	for _, tt := range [][2]string{{"none", ""}, {"all", localPolicies}} {
		b.Run(tt[0], func(b *testing.B) {
			s := newServer(b)
			if err := os.WriteFile(filepath.Join(s.dir, "rsa.pem"), []byte{}, 0o600); err != nil {
				b.Fatal(err)
			}
			dkimKey(b, filepath.Join(s.dir, "rsa.pem"))
			s.write("Caddyfile", s.caddyfile(layout{msa: tt[1] + "\n\tdeliver discard"}))
			s.writeUsers("")
			s.run()
			c, err := s.as(s.tlsConfig(), "alice@example.org")
			if err != nil {
				b.Fatal(err)
			}
			defer c.close()
			b.ResetTimer()
			for i := range b.N {
				if _, err := c.submit("alice@example.org", "bob@example.net", fmt.Sprintf("X-Number: %d\r\n%s", i, message)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
