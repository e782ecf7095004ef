package integration

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
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

// Every Caddyfile in README and docs adapts, and what is a part of one says of what; in the README
// the JSON loads too.
func TestDocumentedConfigurations(t *testing.T) {
	t.Parallel()
	plain, layer4 := start(t, layout{}), servingLayer4(t)
	pages, _ := filepath.Glob("../docs/*.md")
	for _, page := range append(pages, "../README.md") {
		for _, block := range fenced(t, page, "caddyfile") {
			site := block[0] != '\t' && block[0] != '{' // of its own, as web sites are
			if !site && block[0] != '{' {
				if !strings.HasPrefix(block, "\t\t# within msa <hostname> { ... }\n") {
					t.Errorf("%s: does not say where it belongs:\n%s", page, block)
				}
				block = "{\n\tmsa msa.example.org {\n" + block + "\t}\n}\n"
			}
			with := plain
			if filepath.Base(page) == "layer4.md" {
				with = layer4
			}
			if out, ok := adapted(t, with, block); !ok {
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
	t.Parallel()
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
	cmd := exec.Command(binary, "validate", "--config", "config.json")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// The README's sink, under 40 lines, is compiled as a module outside this repository.
func TestOutsideModule(t *testing.T) {
	t.Parallel()
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

// What the docs say of tls in expressions is what it is.
func TestDocumentedTLS(t *testing.T) {
	t.Parallel()
	m := regexp.MustCompile("(?m)^\\| `tls` \\| string, as `(TLS1\\.3) TLS_[A-Z0-9_]+` ").FindStringSubmatch(read(t, "../docs/policy-expression.md"))
	if m == nil {
		t.Fatal("docs/policy-expression.md has no row for tls")
	}
	s := start(t, layout{msa: "policy expression require \"tls.startsWith('" + m[1] + " TLS_')\""})
	s.mustSend(s.tlsConfig(), "alice@example.org", "alice@example.org", "bob@example.net", letter("tls"))
}

// The modules of the README's table are those of the binary.
func TestListModules(t *testing.T) {
	t.Parallel()
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

// The quick start does what it says, with the built binary in the place of go run: two commands,
// no warning, nothing outside the directory, a port of its own for the admin API.
func TestQuickStart(t *testing.T) {
	t.Parallel()
	dir, home := t.TempDir(), t.TempDir()
	example := read(t, "../Caddyfile.example")
	if err := os.WriteFile(filepath.Join(dir, "Caddyfile.example"), []byte(example), 0o600); err != nil {
		t.Fatal(err)
	}
	shell := strings.Join(fenced(t, "../README.md", "sh"), "\n")
	commands := regexp.MustCompile(`(?m)^go run ./xcaddy (.*)$`).FindAllStringSubmatch(shell, -1)
	if len(commands) != 2 {
		t.Fatalf("the README has %d commands of go run ./xcaddy", len(commands))
	}
	for _, command := range commands {
		if !strings.Contains(example, "#\tgo run ./xcaddy "+command[1]+"\n") {
			t.Errorf("Caddyfile.example does not have the README's command %s", command[0])
		}
	}
	command := func(args []string) *exec.Cmd {
		cmd := exec.Command(binary, args...)
		cmd.Dir = dir
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home}
		return cmd
	}
	log := new(logBuffer)
	server := command(strings.Fields(commands[0][1]))
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
	await(t, "the server to take a message", func() bool {
		return command(strings.Fields(commands[1][1])).Run() == nil
	})
	await(t, "the message in the Maildir", func() bool {
		names, _ := filepath.Glob(filepath.Join(dir, "data/mail/example.org/bob/new/*"))
		return len(names) == 1
	})
	for _, level := range []string{"warn", "error"} {
		if strings.Contains(log.String(), `"level":"`+level+`"`) {
			t.Errorf("the first start logs at level %s", level)
		}
	}
	for url, want := range map[string]string{ // what the README shows of the admin API
		regexp.MustCompile(`(?m)^curl (localhost:\S+)$`).FindStringSubmatch(shell)[1]: `{"message_size":52428800}`,
	} {
		resp, err := http.Get("http://" + url) //nolint:noctx // a server of this test's
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if got := strings.TrimSpace(string(body)); got != want {
			t.Errorf("%s is %s, want %s", url, got, want)
		}
	}
	if strings.Contains(example, "2019") || !strings.Contains(example, "admin localhost:") {
		t.Error("the example has no admin address of its own")
	}
	if left, _ := os.ReadDir(home); len(left) != 0 {
		t.Errorf("the quick start wrote into the home directory: %v", left)
	}
	if left, _ := os.ReadDir(dir); len(left) != 2 {
		t.Errorf("beside Caddyfile.example there is not data alone: %v", left)
	}
}
