package integration

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// Thunderbird itself, without a window, finds the settings of an address at the site, makes the account of them, and sends by each of
// the ports that it was told of.
func TestThunderbirdSends(t *testing.T) {
	t.Parallel()
	program := need(t, "thunderbird")
	s, site := autoconfigSite(t, "imap imap.example.org:993")
	ca, err := os.ReadFile(s.root())
	if err != nil {
		t.Fatal(err)
	}
	script, err := os.ReadFile("clients/thunderbird-send.js")
	if err != nil {
		t.Fatal(err)
	}
	m := startThunderbird(t, program, proxyTo(t, "autoconfig.example.org:443", site))
	if _, err := m.call("Marionette:SetContext", map[string]string{"value": "chrome"}); err != nil {
		t.Fatal(err)
	}
	answer, err := m.call("WebDriver:ExecuteAsyncScript", map[string]any{"script": string(script), "args": []string{"alice@example.org", "secret", string(ca), "bob@example.net"},
		"newSandbox": true, "scriptTimeout": slowStart.Milliseconds()})
	if err != nil {
		t.Fatal(err)
	}
	var said struct{ Value string }
	if err := json.Unmarshal(answer, &said); err != nil {
		t.Fatal(err)
	}
	// Of sockets 3 is TLS from the first byte and 2 is STARTTLS; 3 of what it logs in with is a password in clear, within TLS.
	want := "found xml-from-isp-https\n"
	for _, way := range []struct{ address, socket string }{{s.implicit, "3"}, {s.starttls, "2"}} {
		want += "sent by " + hostname + ":" + port(way.address) + " socket " + way.socket + " auth 3 as alice@example.org\n"
	}
	if said.Value != want {
		t.Errorf("said\n%s\nnot\n%s", said.Value, want)
	}
	var all []string
	for _, message := range s.mail("bob@example.net", 2) {
		all = append(all, string(message))
	}
	for _, p := range []string{port(s.implicit), port(s.starttls)} {
		if !strings.Contains(strings.Join(all, "\n"), "Subject: by port "+p+"\r\n") || !strings.Contains(all[0], "Thunderbird") {
			t.Errorf("no message by port %s in %q", p, all)
		}
	}
}

// startThunderbird starts one with a profile of its own, which asks the proxy for all that is on the web, and steers it.
func startThunderbird(t *testing.T, program, proxy string) *marionette {
	t.Helper()
	profile := t.TempDir()
	host, proxyPort, _ := net.SplitHostPort(proxy)
	var prefs strings.Builder
	for _, line := range []string{
		`"marionette.port", 0`, `"network.dns.localDomains", "` + hostname + `"`,
		`"network.proxy.type", 1`, `"network.proxy.http", "` + host + `"`, `"network.proxy.http_port", ` + proxyPort, `"network.proxy.ssl", "` + host + `"`, `"network.proxy.ssl_port", ` + proxyPort,
		`"security.OCSP.enabled", 0`, `"app.update.auto", false`, `"mailnews.start_page.enabled", false`, `"datareporting.policy.dataSubmissionEnabled", false`,
		`"mailnews.auto_config.fetchFromISP.sslOnly", true`,
	} {
		fmt.Fprintf(&prefs, "user_pref(%s);\n", line)
	}
	if err := os.WriteFile(filepath.Join(profile, "user.js"), []byte(prefs.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "--headless", "--marionette", "--remote-allow-system-access", "--no-remote", "--profile", profile)
	cmd.Env = append(os.Environ(), "HOME="+profile, "MOZ_HEADLESS=1", "MOZ_CRASHREPORTER_DISABLE=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // it has processes of its own
	out, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
		_ = out.Close()
		if text, err := os.ReadFile(out.Name()); err == nil && t.Failed() {
			t.Logf("Thunderbird wrote:\n%s", regexp.MustCompile(`(?mi)^(.*gtk.*)?\n`).ReplaceAll(text, nil))
		}
	})
	return newMarionette(t, profile)
}

// proxyTo is a web proxy that connects to one host, at an address that it is not at, and to no other.
func proxyTo(t *testing.T, host, address string) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			near, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer near.Close()
				r := bufio.NewReader(near)
				request, err := http.ReadRequest(r)
				if err != nil || request.Method != http.MethodConnect || request.Host != host {
					fmt.Fprint(near, "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
					return
				}
				far, err := net.Dial("tcp", address)
				if err != nil {
					return
				}
				defer far.Close()
				fmt.Fprint(near, "HTTP/1.1 200 OK\r\n\r\n")
				go func() {
					_, _ = io.Copy(far, r)
					_ = far.Close()
				}()
				_, _ = io.Copy(near, far)
			}()
		}
	}()
	return ln.Addr().String()
}
