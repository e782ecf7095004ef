package integration

import (
	"encoding/json"
	"flag"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write what is adapted into the golden files")

// TestAdapt compares each file of adapt/: a Caddyfile, then a line of dashes, then
// the JSON that it adapts to, or the error that it must fail with. After "----------
// validate", the error is one that only loading the configuration can see.
func TestAdapt(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("adapt/*.caddyfiletest")
	if err != nil || len(files) == 0 {
		t.Fatal("no files", err)
	}
	s := start(t, layout{})
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".caddyfiletest"), func(t *testing.T) {
			t.Parallel()
			golden(t, s, file)
		})
	}
}

// golden compares one file, with what the binary of a server makes of it.
func golden(t *testing.T, s *server, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	caddyfile, want, found := strings.Cut(string(text), "\n----------")
	if !found {
		t.Fatal("no line of dashes")
	}
	var got string
	var ok bool
	if rest, validate := strings.CutPrefix(want, " validate\n"); validate {
		want = rest
		got, ok = caddyOf(t, s.binary, "validate", caddyfile+"\n")
	} else if *update {
		got, ok = caddyOf(t, s.binary, "adapt", caddyfile+"\n")
	} else {
		got, ok = adapted(t, s, caddyfile+"\n")
	}
	if want = strings.TrimSpace(want); *update && want == "" {
		head, _, _ := strings.Cut(string(text)[len(caddyfile)+1:], "\n")
		if !ok {
			got = adaptError(t, got)
		}
		if err := os.WriteFile(file, []byte(caddyfile+"\n"+head+"\n"+got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if strings.HasPrefix(want, "{") {
		compareJSON(t, got, want)
		return
	}
	if ok {
		t.Fatalf("no error, but:\n%s", got)
	}
	if want == "" || !strings.Contains(got, want) {
		t.Errorf("error:\n%s\nwant:\n%s", got, want)
	}
}

// adaptError is what a golden file has of an error: without Caddy's own words before it.
func adaptError(t *testing.T, stderr string) string {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(stderr), "\n")
	_, message, found := strings.Cut(lines[len(lines)-1], `"msg":"`)
	if !found {
		t.Fatal("no error in: " + stderr)
	}
	message = strings.TrimSuffix(message, `"}`)
	if _, ours, found := strings.Cut(message, "for 'msa': "); found {
		message = ours
	}
	if _, ours, found := strings.Cut(message, "app module: provision msa: "); found {
		message = ours
	}
	return message + "\n"
}

// adapted asks a server what a Caddyfile adapts to, or why it does not: a process for each of hundreds takes most of its time to begin.
func adapted(t *testing.T, s *server, caddyfile string) (string, bool) {
	t.Helper()
	asked := *s
	asked.t = t
	status, answer := asked.request(http.MethodPost, "/adapt", caddyfile, http.Header{"Content-Type": {"text/caddyfile"}})
	var a struct {
		Result json.RawMessage `json:"result"`
		Error  string          `json:"error"`
	}
	if err := json.Unmarshal([]byte(answer), &a); err != nil {
		t.Fatalf("%d %v: %s", status, err, answer)
	}
	return string(a.Result) + a.Error, status == http.StatusOK
}

// caddy runs a command on a Caddyfile and returns its output, or its error.
func caddy(t *testing.T, command, caddyfile string) (string, bool) {
	t.Helper()
	return caddyOf(t, binary, command, caddyfile)
}

func caddyOf(t *testing.T, binary, command, caddyfile string) (string, bool) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "Caddyfile"), []byte(caddyfile), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{command, "--config", "Caddyfile", "--adapter", "caddyfile"}
	if command == "adapt" {
		args = append(args, "--pretty")
	}
	cmd := exec.Command(binary, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return strings.ReplaceAll(stderr.String(), `\"`, `"`), false // the error is a line of the log
	}
	return stdout.String(), true
}

func compareJSON(t *testing.T, got, want string) {
	t.Helper()
	var g, w any
	if err := json.Unmarshal([]byte(got), &g); err != nil {
		t.Fatalf("%v in:\n%s", err, got)
	}
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		t.Fatal("the golden JSON:", err)
	}
	if !reflect.DeepEqual(g, w) {
		t.Errorf("adapted to:\n%s\nwant:\n%s", got, want)
	}
}
