package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// eicar is the test string that every scanner knows, in two halves so that none finds it here.
const eicar = `X5O!P%@AP[4\PZX54(P^)7CC)7}$` + `EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*`

// clamd is a running clamd whose only signature is the EICAR test string's.
type clamd struct {
	t      testing.TB
	dir    string
	socket string
	cmd    *exec.Cmd
}

func startClamd(t testing.TB) *clamd {
	t.Helper()
	need(t, "clamd", "clamav-daemon")
	dir, err := os.MkdirTemp("", "clamd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	c := &clamd{t: t, dir: dir, socket: filepath.Join(dir, "clamd.sock")}
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "db"), 0o755); err != nil {
		t.Fatal(err)
	}
	write("db/test.ndb", fmt.Sprintf("Eicar-Test-Signature:0:*:%x\n", eicar[:40]))
	write("clamd.conf", fmt.Sprintf("LocalSocket %s\nDatabaseDirectory %s/db\nForeground yes\nUser root\nLogFile %s/log\nStreamMaxLength 10M\nMaxThreads 4\n", c.socket, dir, dir))
	c.run()
	t.Cleanup(func() { _ = c.cmd.Process.Kill(); _ = c.cmd.Wait() })
	return c
}

func (c *clamd) run() {
	c.t.Helper()
	_ = os.Remove(c.socket)
	c.cmd = exec.Command("clamd", "--config-file", filepath.Join(c.dir, "clamd.conf"))
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	await(c.t, "clamd", func() bool { _, err := os.Stat(c.socket); return err == nil })
}

// clamd refuses what has the EICAR test string in it, as text or in a base64 attachment, by its
// signature's name; when it hangs, dies or finds a message too long, the client hears the right thing.
func TestClamAV(t *testing.T) {
	c := startClamd(t)
	s := start(t, layout{msa: `
	policy clamav unix/` + c.socket + ` {
		timeout 2s
	}`})
	trust := s.tlsConfig()
	end := func(message string) string { return s.endOfData(trust, message) }

	clean := "From: alice@example.org\r\nSubject: x\r\n\r\nHello\r\n"
	bad := "From: alice@example.org\r\nSubject: x\r\n\r\n" + eicar + "\r\n"
	attached := "From: alice@example.org\r\nSubject: x\r\nMIME-Version: 1.0\r\nContent-Type: application/octet-stream; name=e.com\r\nContent-Transfer-Encoding: base64\r\n\r\n" + base64Lines(eicar)
	for _, tt := range [][2]string{
		{clean, "250 2.0.0 Ok: queued as "}, {bad, "550 5.7.1 Message contains malware (clamav: Eicar-Test-Signature"}, {attached, "550 5.7.1 Message contains malware (clamav: Eicar-Test-Signature"},
		{clean + strings.Repeat("0123456789abcdef\r\n", 700_000), "552 5.3.4 Message is too large to be checked (clamav: too_large)"},
	} {
		if got := end(tt[0]); !strings.HasPrefix(got, tt[1]) {
			t.Errorf("%.80q: %s, want %s", tt[0], got, tt[1])
		}
	}
	if err := c.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if got := end(clean); !strings.HasPrefix(got, "451 4.3.0 ") {
		t.Errorf("clamd hangs: %s", got)
	}
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
	if got := end(clean); !strings.HasPrefix(got, "451 4.3.0 ") || strings.Contains(got, "clamd.sock") {
		t.Errorf("clamd is dead: %s", got)
	}
	c.run()
	if got := end(bad); !strings.HasPrefix(got, "550 5.7.1") {
		t.Errorf("clamd is back: %s", got)
	}
}
