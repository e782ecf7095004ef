package integration

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/installed"
	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
)

// web is the web service of modules/authhttp/testdata, here in plain HTTP on this machine.
type web struct {
	t              *testing.T
	dir, addr      string
	python, script string
	cmd            *exec.Cmd
}

type webUser = map[string]any

const webToken = "token-9b1f6c"

func startWeb(t *testing.T, users map[string]webUser) *web {
	t.Helper()
	w := &web{t: t, dir: t.TempDir(), addr: freeAddress(t), python: need(t, "python3")}
	page, err := os.ReadFile("../docs/auth-http.md")
	if err != nil {
		t.Fatal(err)
	}
	_, snippet, _ := strings.Cut(string(page), "```python\n")
	snippet, _, _ = strings.Cut(snippet, "```")
	if w.script, err = filepath.Abs("../modules/authhttp/testdata/service.py"); err != nil {
		t.Fatal(err)
	}
	w.file("verify_signature.py", []byte(snippet))
	w.file("token", []byte(webToken+"\n"))
	w.configure(users)
	w.run()
	return w
}

// file is written whole or not at all.
func (w *web) file(name string, content []byte) {
	w.t.Helper()
	path := filepath.Join(w.dir, name)
	err := os.WriteFile(path+".new", content, 0o600)
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *web) configure(users map[string]webUser) {
	w.t.Helper()
	b, err := json.Marshal(map[string]any{"port": json.Number(port(w.addr)), "users": users, "bearer": webToken})
	if err != nil {
		w.t.Fatal(err)
	}
	w.file("config.json", b)
}

func (w *web) run() {
	w.t.Helper()
	cmd := exec.Command(w.python, "-B", w.script, w.dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.cmd = cmd
	w.t.Cleanup(func() {
		w.kill(cmd)
		if w.t.Failed() {
			w.t.Logf("the web service's output:\n%s", output.String())
		}
	})
	await(w.t, "the web service", func() bool {
		nc, err := net.Dial("tcp", w.addr)
		if err == nil {
			_ = nc.Close()
		}
		return err == nil
	})
}

func (w *web) kill(cmd *exec.Cmd) {
	if cmd.ProcessState == nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
}

// backend is the configuration for it.
func (w *web) backend(settings string) layout {
	return layout{auth: "auth {\n throttle off\n http http://" + w.addr + "/msa {\n bearer {file." + w.dir + "/token}\n timeout 10s\n" + settings + "}\n}"}
}

// Users of a web service through the whole server: one that hangs, is gone or refuses us is not a refusal
// of a user, and a user who is gone submits no more.
func TestHTTPUsers(t *testing.T) {
	t.Parallel()
	users := map[string]webUser{
		"alice@example.org": {"secret": "secret", "fingerprint": "1"},
		"bob@example.org":   {"secret": "secret", "fingerprint": "1"},
		"scanner":           {"secret": "secret", "addresses": []string{"@devices.example.org"}},
	}
	w := startWeb(t, users)
	s := newServer(t)
	l := w.backend("")
	s.write("Caddyfile", s.caddyfile(l))
	s.run()
	trust := s.tlsConfig()

	s.mustSend(trust, "alice@example.org", "alice@example.org", "carol@example.org", letter("from alice"))
	s.mustSend(trust, "scanner", "hall@devices.example.org", "carol@example.org", strings.Replace(letter("from scanner"), "alice@example.org", "hall@devices.example.org", 1))
	for user, want := range map[string]string{"bob@example.org": "235", "nobody@example.org": "535", `","ok":true,"x":"`: "535"} {
		if code := s.authAs(user, "secret"); code != want {
			t.Errorf("%s: %s, want %s", user, code, want)
		}
	}
	open := func(user string) *talker {
		t.Helper()
		c, err := s.as(trust, user)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.close)
		return c
	}
	alice, bob, scanner := open("alice@example.org"), open("bob@example.org"), open("scanner")

	_ = w.cmd.Process.Signal(syscall.SIGSTOP)
	installed.AwaitStopped(w.t, w.cmd.Process.Pid)
	s.undecided("while the service hangs", "alice@example.org", "nobody@example.org")
	if err := alice.do("451", "MAIL FROM:<alice@example.org>"); err != nil {
		t.Error(err)
	}
	_ = w.cmd.Process.Signal(syscall.SIGCONT)
	if _, err := alice.submit("alice@example.org", "carol@example.org", letter("afterwards")); err != nil {
		t.Error(err)
	}

	w.kill(w.cmd)
	if code := s.authAs("alice@example.org", "secret"); code != "454" {
		t.Errorf("while the service is down: %s", code)
	}
	// A configuration can be loaded meanwhile.
	if status, body := s.load(s.caddyfile(l)); status != 200 {
		t.Error(status, body)
	}
	w.run()
	if code := s.authAs("alice@example.org", "secret"); code != "235" {
		t.Errorf("when the service is back: %s", code)
	}

	delete(users, "bob@example.org")
	users["scanner"]["fingerprint"] = "2"
	w.configure(users)
	for user, c := range map[string]*talker{"bob@example.org": bob, "hall@devices.example.org": scanner} {
		if err := c.do("421", "MAIL FROM:<"+user+">"); err != nil {
			t.Errorf("%s, who is gone or has another password: %v", user, err)
		}
	}
	if err := alice.do("250", "MAIL FROM:<alice@example.org>"); err != nil {
		t.Error(err)
	}

	w.file("token", []byte("another\n"))
	if status, body := s.load(strings.ReplaceAll(s.caddyfile(l), "timeout 10s", "timeout 11s")); status != 200 {
		t.Error(status, body)
	}
	if code := s.authAs("alice@example.org", "secret"); code != "454" {
		t.Errorf("with another token: %s", code)
	}
	s.logged("could not be decided", "status 401", "it refuses this server")
	if strings.Contains(s.log.String(), webToken) {
		t.Error("the token is in the log")
	}
}

// what the web service hands out serves DIGEST-MD5, as curl computes it, PLAIN and SCRAM.
func TestHTTPCredentials(t *testing.T) {
	t.Parallel()
	curl := need(t, "curl")
	ha1 := sasl.DigestHA1("alice", hostname, "secret")
	w := startWeb(t, map[string]webUser{"alice": {"digest_ha1": webUser{hostname: hex.EncodeToString(ha1[:])}, "addresses": []string{"alice@example.org"}}})
	s := newServer(t)
	l := w.backend(" credentials on\n")
	// What a service hands out is not known before, so only PLAIN and LOGIN are offered by default.
	l.auth = strings.Replace(l.auth, "throttle off", "throttle off\n mechanisms DIGEST-MD5 PLAIN LOGIN", 1)
	s.write("Caddyfile", s.caddyfile(l))
	s.run()
	s.write("message", conversed)
	for mechanism, password := range map[string]string{"DIGEST-MD5": "secret", "PLAIN": "secret", "LOGIN": "wrong"} {
		cmd := exec.Command(curl, "--silent", "--show-error", "--ssl-reqd", "--cacert", s.root(), "--url", "smtp://"+hostname+":"+port(s.starttls)+"/client.example",
			"--resolve", hostname+":"+port(s.starttls)+":127.0.0.1",
			"--login-options", "AUTH="+mechanism, "--user", "alice:"+password, "--mail-from", "alice@example.org",
			"--mail-rcpt", "carol@example.net", "--upload-file", filepath.Join(s.dir, "message"))
		out, err := cmd.CombinedOutput()
		if password == "secret" && err != nil || password == "wrong" && cmd.ProcessState.ExitCode() != 67 { // login denied
			t.Errorf("%s: %v\n%s", mechanism, err, out)
		}
	}
	s.mail("carol@example.net", 2)
}
