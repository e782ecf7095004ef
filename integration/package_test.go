package integration

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/installed"
)

// nfpm is pinned here and in the Makefile, and is no requirement of this module.
const nfpm = "github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.2"

// debian makes the package of a version, as make deb does, without the time that it takes to compress.
func debian(t *testing.T, version string) string {
	t.Helper()
	dir := t.TempDir()
	config := strings.Replace(read(t, "../xcaddy/deb/nfpm.yaml"), "compression: zstd", "compression: none", 1)
	if !strings.Contains(config, "compression: none") || !strings.Contains(read(t, "../Makefile"), nfpm) {
		t.Fatal("nfpm.yaml or the Makefile is not as this test thinks")
	}
	path := filepath.Join(dir, "nfpm.yaml")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	deb := filepath.Join(dir, "caddy-msa.deb")
	if err := fetch("..", nil, "go", "run", nfpm, "--version"); err != nil {
		installed.Lack(t, "nfpm, by go run", err) // without a network there is none
	}
	env := []string{"VERSION=" + version, "ARCH=" + runtime.GOARCH, "BINARY=" + binary, "SOURCE_DATE_EPOCH=1767225600"}
	if err := run("..", env, "go", "run", nfpm, "package", "--config", path, "--packager", "deb", "--target", deb); err != nil {
		t.Fatal(err)
	}
	return deb
}

// machine is this one with a file system and a network of its own: what is installed there is nowhere else.
type machine struct {
	t     *testing.T
	pid   string
	enter []string // the namespaces of that process that are entered
	root  string
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	needRoot(t)
	m := &machine{t: t, enter: []string{"--mount", "--net"}, root: filepath.Join(t.TempDir(), "machine")}
	cmd := exec.Command("unshare", "--mount", "--net", "--propagation", "private", "sh", "-c", `
		mkdir "$0" && mount -t tmpfs tmpfs "$0" && mkdir "$0/upper" "$0/work" "$0/root" &&
		mount -t overlay overlay -o "lowerdir=/,upperdir=$0/upper,workdir=$0/work" "$0/root" && mount -t proc proc "$0/root/proc" &&
		mount -t tmpfs tmpfs "$0/root/run" && mount -t tmpfs tmpfs "$0/root/tmp" && mount --bind /dev "$0/root/dev" &&
		ip link set lo up && echo ready && exec sleep 1h`, m.root)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if line, _ := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		tell("skipped %s, for which the kernel has no overlay file systems here: %s", t.Name(), strings.TrimSpace(line))
		t.Skip(line)
	}
	m.pid = strconv.Itoa(cmd.Process.Pid)
	m.root += "/root"
	return m
}

func (m *machine) command(script string) *exec.Cmd {
	cmd := exec.Command("nsenter", slices.Concat([]string{"--target", m.pid}, m.enter, []string{"--", "chroot", m.root, "sh", "-c", script})...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive", "HOME=/root"}
	return cmd
}

// sh runs a script there, as root.
func (m *machine) sh(script string) string {
	m.t.Helper()
	out, err := m.command(script).CombinedOutput()
	if err != nil {
		m.t.Fatalf("%s\n%v\n%s", script, err, out)
	}
	return strings.TrimSpace(string(out))
}

func (m *machine) want(script, want string) {
	m.t.Helper()
	if got := m.sh(script); got != want {
		m.t.Errorf("%s\nsays %q, want %q", script, got, want)
	}
}

// copy brings a file to a path there.
func (m *machine) copy(from, to string) {
	m.t.Helper()
	f, err := os.Open(from)
	if err != nil {
		m.t.Fatal(err)
	}
	defer f.Close()
	cmd := m.command("cat >" + to)
	cmd.Stdin = f
	if out, err := cmd.CombinedOutput(); err != nil {
		m.t.Fatalf("%v\n%s", err, out)
	}
}

// The Debian package is installed, works as its user with the configuration that it brings, is upgraded and
// downgraded with what the operator wrote kept, removed and purged; messages outlive all of it.
func TestDebianPackage(t *testing.T) {
	t.Parallel()
	need(t, "systemd-analyze")
	m := newMachine(t)
	m.copy(debian(t, "1.0.0"), "/tmp/1.deb")
	m.copy(debian(t, "1.1.0~rc1"), "/tmp/2.deb")

	m.sh("dpkg -i /tmp/1.deb")
	m.want("dpkg-query -W -f '${Version} ${Status}' caddy-msa", "1.0.0 install ok installed")
	m.want("getent passwd caddy-msa | cut -d: -f6,7", "/var/lib/caddy-msa:/usr/sbin/nologin")
	m.want(`stat -c '%a %U %G %n' /etc/caddy-msa/* /var/lib/caddy-msa /usr/bin/caddy-msa`, `644 root root /etc/caddy-msa/Caddyfile
700 root root /etc/caddy-msa/secrets
640 root caddy-msa /etc/caddy-msa/users.passwd
700 caddy-msa caddy-msa /var/lib/caddy-msa
755 root root /usr/bin/caddy-msa`)
	m.sh("systemd-analyze verify /usr/lib/systemd/system/caddy-msa.service")

	// As its comments say: add a user, change the names, see that it is valid.
	m.sh("echo secret | caddy-msa msa user alice@example.org --password-stdin --file /etc/caddy-msa/users.passwd")
	m.want("stat -c '%a %U %G' /etc/caddy-msa/users.passwd", "640 root caddy-msa")
	m.sh("sed -i s/msa.example.org/msa.example.test/ /etc/caddy-msa/Caddyfile")
	asUser := "cd /; export HOME=/var/lib/caddy-msa XDG_DATA_HOME=/var/lib/caddy-msa XDG_CONFIG_HOME=/var/lib/caddy-msa; exec setpriv --reuid caddy-msa --regid caddy-msa --init-groups "
	m.sh(asUser + "caddy-msa validate --config /etc/caddy-msa/Caddyfile")
	serve := func() (stop func()) {
		t.Helper()
		log := new(logBuffer)
		cmd := m.command(asUser + "--inh-caps +net_bind_service --ambient-caps +net_bind_service caddy-msa run --config /etc/caddy-msa/Caddyfile")
		cmd.Stdout, cmd.Stderr = log, log
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		stopped := false
		stop = func() {
			if stopped {
				return
			}
			stopped = true
			if out, err := m.command("caddy-msa stop --config /etc/caddy-msa/Caddyfile").CombinedOutput(); err != nil {
				t.Errorf("stopping: %v\n%s", err, out)
				_ = cmd.Process.Kill()
			}
			_ = cmd.Wait()
		}
		t.Cleanup(func() {
			stop()
			if t.Failed() {
				t.Log(log)
			}
		})
		await(t, "the server to be healthy", func() bool { return m.command("caddy-msa msa health --config /etc/caddy-msa/Caddyfile").Run() == nil })
		return stop
	}
	stop := serve()
	m.want("stat -c '%a %U' /run/caddy-msa/admin.sock", "600 caddy-msa")
	out := m.sh("MSA_PASSWORD=secret caddy-msa msa send --server localhost:465 --server-name msa.example.test --ca /var/lib/caddy-msa/caddy/pki/authorities/local/root.crt" +
		" --user alice@example.org --to bob@example.net")
	if !strings.Contains(out, "250 2.0.0 Ok: queued as ") {
		t.Error(out)
	}
	queued := func() bool {
		return strings.Contains(m.sh("caddy-msa msa queue list --config /etc/caddy-msa/Caddyfile"), "alice@example.org")
	}
	await(t, "the message to be in the queue", queued)
	stop()

	for _, deb := range []string{"2", "1"} { // there and back
		m.sh("dpkg -i --force-confold /tmp/" + deb + ".deb")
		m.want("grep -c msa.example.test /etc/caddy-msa/Caddyfile; grep -c ^alice /etc/caddy-msa/users.passwd; stat -c '%a %U %G' /etc/caddy-msa/users.passwd", "1\n1\n640 root caddy-msa")
		stop = serve()
		await(t, "the message to be there still", queued)
		stop()
	}

	m.sh("dpkg -r caddy-msa")
	m.want("ls /usr/bin/caddy-msa /usr/lib/systemd/system/caddy-msa.service 2>/dev/null; ls /etc/caddy-msa", "Caddyfile\nsecrets\nusers.passwd")
	if out := m.sh("dpkg -P caddy-msa"); !strings.Contains(out, "/var/lib/caddy-msa is kept") {
		t.Error(out)
	}
	m.want("ls -d /etc/caddy-msa 2>/dev/null; ls -d /var/lib/caddy-msa/caddy/msa/spool", "/var/lib/caddy-msa/caddy/msa/spool")
	m.want("dpkg-query -W -f '${Status}' caddy-msa 2>/dev/null || echo none", "none")
}

// The unit keeps the environment, and the secrets in it, out of the journal.
func TestUnitPrintsNoEnvironment(t *testing.T) {
	t.Parallel()
	for line := range strings.Lines(read(t, "../xcaddy/caddy-msa.service")) {
		if strings.HasPrefix(line, "Exec") && strings.Contains(line, "--environ") {
			t.Error(line)
		}
	}
}

// The unit confines the service as far as a mail server can be, by systemd's own count: 0 is best, 10 is worst.
func TestUnitConfines(t *testing.T) {
	t.Parallel()
	out, err := exec.Command(need(t, "systemd-analyze"), "security", "--offline=true", "../xcaddy/caddy-msa.service").CombinedOutput()
	m := regexp.MustCompile(`Overall exposure level for caddy-msa\.service: ([0-9.]+)`).FindSubmatch(out)
	if m == nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if level, _ := strconv.ParseFloat(string(m[1]), 64); level > 3 {
		t.Errorf("the exposure is %s:\n%s", m[1], out)
	}
}

// What is for containers: the image is built of sources that .dockerignore lets through, by a Dockerfile without a
// known mistake, and all configurations that come along are valid Caddyfiles.
func TestContainers(t *testing.T) {
	t.Parallel()
	lint := exec.Command(need(t, "dockerfilelint"), installed.NPMPackage("dockerfilelint")+"/bin/dockerfilelint", "../xcaddy/Dockerfile")
	if out, err := lint.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	for _, name := range []string{"compose", "kubernetes", "deb"} {
		if out, ok := caddy(t, "adapt", read(t, "../xcaddy/"+name+"/Caddyfile")); !ok {
			t.Errorf("%s: %s", name, out)
		}
	}

	var ignored []string
	for line := range strings.Lines(read(t, "../.dockerignore")) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			ignored = append(ignored, line)
		}
	}
	list := exec.Command("go", "list", "-deps", "-f", `{{$dir := .Dir}}{{if not .Standard}}{{range .GoFiles}}{{$dir}}/{{.}}
{{end}}{{range .EmbedFiles}}{{$dir}}/{{.}}
{{end}}{{end}}`, "./xcaddy")
	list.Dir = ".."
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	needed := 0
	for file := range strings.Lines(string(out) + root + "/go.mod\n" + root + "/go.sum\n") {
		path, ours := strings.CutPrefix(strings.TrimSpace(file), root+"/")
		if !ours {
			continue
		}
		needed++
		for _, pattern := range ignored {
			suffix, anywhere := strings.CutPrefix(pattern, "**/*")
			if anywhere && strings.HasSuffix(path, suffix) || path == pattern || strings.HasPrefix(path, pattern+"/") {
				t.Errorf(".dockerignore leaves %s out, by %s", path, pattern)
			}
		}
	}
	if needed < 100 {
		t.Errorf("only %d files are needed", needed)
	}
}

// expand lists the system calls of a set of systemd's, or one that is named itself.
func expand(t *testing.T, word string, into map[string]bool) {
	t.Helper()
	if !strings.HasPrefix(word, "@") {
		into[word] = true
		return
	}
	out, err := exec.Command("systemd-analyze", "syscall-filter", word).Output()
	if err != nil {
		t.Fatal(word, err)
	}
	for line := range strings.Lines(string(out)) {
		if words := strings.Fields(line); len(words) > 0 && words[0] != word && words[0][0] != '#' {
			expand(t, words[0], into)
		}
	}
}

// The unit lets the server have the system calls that it makes as it starts, accepts, delivers to a directory and
// to a program, reloads and ends.
func TestUnitSystemCalls(t *testing.T) {
	t.Parallel()
	need(t, "systemd-analyze")
	strace := need(t, "strace")
	allowed := make(map[string]bool)
	for line := range strings.Lines(read(t, "../xcaddy/caddy-msa.service")) {
		text, filter := strings.CutPrefix(strings.TrimSpace(line), "SystemCallFilter=")
		if !filter {
			continue
		}
		list, denied := strings.CutPrefix(text, "~")
		set := make(map[string]bool)
		for _, word := range strings.Fields(list) {
			expand(t, word, set)
		}
		for name := range set {
			if denied {
				delete(allowed, name)
			} else {
				allowed[name] = true
			}
		}
	}

	s := newServer(t)
	// With -D the process is the server, and strace ends with it.
	s.program("traced", "#!/bin/sh\nexec "+strace+" -D -f -qq -o "+s.dir+"/trace "+binary+" \"$@\"\n")
	s.binary = filepath.Join(s.dir, "traced")
	l := layout{msa: "@program recipient_domain program.example\n\tdeliver @program pipe tee $DIR/piped\n\tdeliver maildir $DIR/mail/{msa.recipient.domain}/{msa.recipient.local}"}
	s.write("Caddyfile", s.caddyfile(l))
	s.writeUsers("")
	s.run()
	trust := s.tlsConfig()
	s.mustSend(trust, "alice@example.org", "alice@example.org", "bob@example.net", letter("directory"))
	s.mail("bob@example.net", 1)
	s.mustSend(trust, "alice@example.org", "alice@example.org", "bob@program.example", letter("program"))
	s.await("the program to have the message", func() bool {
		b, _ := os.ReadFile(filepath.Join(s.dir, "piped"))
		return strings.Contains(string(b), "Subject: program")
	})
	if status, answer := s.load(s.caddyfile(l)); status != 200 {
		t.Fatal(status, answer)
	}
	s.stop()

	var calls map[string]bool
	s.await("the end of the trace", func() bool {
		trace := read(t, filepath.Join(s.dir, "trace"))
		calls = make(map[string]bool)
		for _, m := range regexp.MustCompile(`(?m)^[0-9]+ +(?:<\.\.\. )?([a-z0-9_]+)[( ]`).FindAllStringSubmatch(trace, -1) {
			calls[m[1]] = true
		}
		return calls["exit_group"]
	})
	if !calls["accept4"] || !calls["execve"] || !calls["fdatasync"] && !calls["fsync"] {
		t.Errorf("not all that a server does was traced: %v", calls)
	}
	for name := range calls {
		if !allowed[name] {
			t.Errorf("the unit refuses %s", name)
		}
	}
}
