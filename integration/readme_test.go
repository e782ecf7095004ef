package integration

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// fenced returns the blocks of a language in a page.
func fenced(t *testing.T, page, language string) []string {
	t.Helper()
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var blocks []string
	for _, m := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```").FindAllSubmatch(b, -1) {
		blocks = append(blocks, string(m[1]))
	}
	return blocks
}

// Every Caddyfile in README and docs adapts; in the README the JSON loads too.
func TestDocumentedConfigurations(t *testing.T) {
	pages, _ := filepath.Glob("../docs/*.md")
	for _, page := range append(pages, "../README.md") {
		for _, block := range fenced(t, page, "caddyfile") {
			if !strings.HasPrefix(block, "{") { // a part of an msa block
				block = "{\n\tmsa msa.example.org {\n" + block + "\t}\n}\n"
			}
			if out, ok := caddy(t, "adapt", block); !ok {
				t.Errorf("%s:\n%s\n%s", page, block, out)
			}
		}
		for _, block := range fenced(t, page, "json") {
			if !json.Valid([]byte(block)) {
				t.Errorf("%s: not JSON:\n%s", page, block)
			}
		}
	}
}

func TestDocumentedJSON(t *testing.T) {
	dir := t.TempDir()
	blocks := fenced(t, "../README.md", "json")
	if len(blocks) != 1 {
		t.Fatalf("%d blocks of JSON in the README", len(blocks))
	}
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("config.json", blocks[0])
	write("users.example", "demo@example.org:{PLAIN}demo\n")
	cmd := exec.Command(binary, "validate", "--config", "config.json")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// The README's sink, under 40 lines, is compiled as a module outside this repository.
func TestOutsideModule(t *testing.T) {
	blocks := fenced(t, "../README.md", "go")
	if len(blocks) != 1 {
		t.Fatalf("%d blocks of Go in the README", len(blocks))
	}
	if n := strings.Count(blocks[0], "\n"); n >= 40 {
		t.Errorf("the example has %d lines", n)
	}
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	mod, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	sum, err := os.ReadFile("../go.sum")
	if err != nil {
		t.Fatal(err)
	}
	// Its requirements are this repository's, so that nothing is fetched.
	mod = bytes.Replace(mod, []byte("module "+modulePath), []byte("module example.org/printsize"), 1)
	mod = append(mod, "\nrequire "+modulePath+" v0.0.0\nreplace "+modulePath+" => "+root+"\n"...)
	for name, text := range map[string][]byte{"sink.go": []byte(blocks[0]), "go.mod": mod, "go.sum": sum} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := run(dir, []string{"GOFLAGS=-mod=mod -buildvcs=false"}, "go", "vet", "."); err != nil {
		t.Error(err)
	}
}

// The modules of the README's table are those of the binary.
func TestListModules(t *testing.T) {
	out, err := exec.Command(binary, "list-modules").Output()
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	listed := strings.Fields(string(out))
	for _, module := range listed {
		if (module == "msa" || strings.HasPrefix(module, "msa.")) && !bytes.Contains(readme, []byte("`"+module+"`")) {
			t.Errorf("the README does not name %s", module)
		}
	}
	for _, m := range regexp.MustCompile("(?m)^\\| `(msa[a-z._]*)`").FindAllSubmatch(readme, -1) {
		if !strings.Contains(string(out), string(m[1])+"\n") {
			t.Errorf("the README names %s, which the binary does not have", m[1])
		}
	}
}

// The quick start does what it says, with the built binary in the place of go run.
func TestQuickStart(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"Caddyfile.example", "users.example"} {
		b, err := os.ReadFile(filepath.Join("..", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	command := regexp.MustCompile(`(?m)^go run ./xcaddy (msa send .*)$`).FindStringSubmatch(strings.Join(fenced(t, "../README.md", "sh"), "\n"))
	if command == nil {
		t.Fatal("the README's msa send line is gone")
	}
	cmd := exec.Command(binary, "run", "--config", "Caddyfile.example")
	cmd.Dir = dir
	log := new(logBuffer)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(log)
		}
	}()
	await(t, "the server to take a message", func() bool {
		send := exec.Command(binary, strings.Fields(command[1])...)
		send.Dir = dir
		return send.Run() == nil
	})
	await(t, "the message in the Maildir", func() bool {
		names, _ := filepath.Glob(filepath.Join(dir, "data/mail/example.org/bob/new/*"))
		return len(names) == 1
	})
}
