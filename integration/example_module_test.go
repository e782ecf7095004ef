package integration

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A module of one's own: docs/dev/example, which is a Go module apart from this one, passes its suite,
// is built into a binary together with this server, loaded by its Caddyfile, and run.
func TestExampleModule(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	// Its requirements are this repository's as they are now, so that nothing is fetched; that its own
	// go.mod is up to date, .ci/run checks.
	mod := strings.Replace(read(t, "../go.mod"), "module "+modulePath+"\n", "module example.org/ticket\n", 1)
	mod += "\nrequire " + modulePath + " v0.0.0\nreplace " + modulePath + " => " + root + "\n"
	for name, text := range map[string]string{"go.mod": mod, "go.sum": read(t, "../go.sum")} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const source = "../docs/dev/example"
	env := []string{"GOFLAGS=-mod=mod -buildvcs=false -modfile=" + filepath.Join(dir, "go.mod")}
	caddy := filepath.Join(dir, "caddy")
	// go test vets no more than it does everywhere: the whole of it is .ci/run's too.
	if err := run(source, env, "go", "test", "."); err != nil {
		t.Fatal(err)
	}
	if err := link(source, env, caddy, "./caddy"); err != nil {
		t.Fatal(err)
	}

	config := read(t, "../docs/dev/example/Caddyfile")
	port := freeAddress(t)
	for old, address := range map[string]string{"localhost:1588": freeAddress(t), "localhost:1587": port, "localhost:1465": freeAddress(t)} {
		if !strings.Contains(config, old) {
			t.Fatalf("the example's Caddyfile does not have %s", old)
		}
		config = strings.ReplaceAll(config, old, address)
	}
	if err := os.WriteFile(filepath.Join(dir, "Caddyfile"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	command := func(args ...string) *exec.Cmd {
		cmd := exec.Command(caddy, args...)
		cmd.Dir = dir
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}
		return cmd
	}
	log := new(logBuffer)
	server := command("run", "--config", "Caddyfile")
	server.Stdout, server.Stderr = log, log
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = server.Process.Kill()
		_ = server.Wait()
		if t.Failed() {
			t.Log(log)
		}
	}()
	send := func(subject string) string {
		out, _ := command("msa", "send", "--server", port, "--server-name", "localhost", "--tls", "starttls", "--ca", "data/caddy/pki/authorities/local/root.crt",
			"--user", "demo@example.org", "--password", "demo", "--to", "bob@example.org", "--subject", subject).CombinedOutput()
		return string(out)
	}
	happened := func(event string, texts ...string) {
		t.Helper()
		await(t, "the example's handler to hear of "+event, func() bool {
			events, _ := os.ReadFile(filepath.Join(dir, "data/events.jsonl"))
			for line := range strings.Lines(string(events)) {
				if strings.Contains(line, `"event":"`+event+`"`) && !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(line, text) }) {
					return true
				}
			}
			return false
		})
	}
	await(t, "the module to refuse a message without a ticket", func() bool {
		return strings.Contains(send("disk"), "550 5.7.1 The subject names no ticket, such as [OPS-1234] (ticket: projects)")
	})
	if out := send("[SUP-7] printer"); !strings.Contains(out, "250 2.0.0 Ok: queued as ") {
		t.Fatalf("with a ticket:\n%s", out)
	}
	happened("message_refused", `"moment":"DATA"`, `"policy":"ticket"`, `"user":"demo@example.org"`)
	happened("message_delivered", `"recipients":["bob@example.org"]`)
	refused, _ := command("msa", "send", "--server", port, "--server-name", "localhost", "--tls", "starttls", "--ca", "data/caddy/pki/authorities/local/root.crt",
		"--user", "demo@example.org", "--password", "guess", "--to", "bob@example.org").CombinedOutput()
	if !strings.Contains(string(refused), "535") {
		t.Fatalf("with a wrong password:\n%s", refused)
	}
	happened("message_refused", `"moment":"AUTH"`, `"reply":"535 5.7.8`)
	await(t, "the message with the module's field", func() bool {
		names, _ := filepath.Glob(filepath.Join(dir, "data/mail/example.org/bob/new/*"))
		if len(names) != 1 {
			return false
		}
		message, err := os.ReadFile(names[0])
		return err == nil && bytes.Contains(message, []byte("X-Ticket: SUP-7\r\n"))
	})
}
