package integration

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// SIGTERM lets go of nobody in the middle of a message: what is under way is taken, who
// is idle gets 421, nobody else is let in, and the process ends by itself. What it took
// last, the next process delivers.
func TestShutdown(t *testing.T) {
	t.Parallel()
	l := layout{msa: "queue {\n retry 100ms\n}"}
	s := newServer(t)
	s.write("mail", "") // a file in the sink's place: delivery has to wait
	s.write("Caddyfile", patient(s.caddyfile(l)))
	s.writeUsers("")
	s.run()
	trust := s.tlsConfig()

	idle := make(map[string]*talker)
	under := make(map[string]func() error)
	for _, state := range astride {
		switch state.name {
		case "data", "bdat":
			rest, err := state.begin(s, trust, state.name)
			if err != nil {
				t.Fatal(state.name, err)
			}
			under[state.name] = rest
		}
	}
	for name, enter := range map[string]func() (*talker, error){
		"greeted":       func() (*talker, error) { return connect("tcp", s.starttls, nil) },
		"within TLS":    func() (*talker, error) { return connect("tcp", s.implicit, trust) },
		"authenticated": func() (*talker, error) { return s.alice(trust) },
	} {
		c, err := enter()
		if err != nil {
			t.Fatal(name, err)
		}
		defer c.close()
		idle[name] = c
	}

	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for name, c := range idle {
		if err := c.want("421 4.3.2"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if more, err := c.reply(); !errors.Is(err, io.EOF) {
			t.Errorf("%s goes on: %q, %v", name, more, err)
		}
	}
	if nc, err := net.Dial("tcp", s.starttls); err == nil {
		_ = nc.Close()
		t.Error("a client is let in")
	}
	select {
	case <-s.exited:
		t.Fatal("the process ended before its transactions")
	default:
	}
	for name, rest := range under {
		// After its 250 the client wants to QUIT, and hears 421 perhaps.
		if err := rest(); err != nil && !strings.HasPrefix(err.Error(), "QUIT: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if code := s.ended(); code != 0 {
		t.Errorf("exit code %d", code)
	}

	if err := os.Remove(filepath.Join(s.dir, "mail")); err != nil {
		t.Fatal(err)
	}
	s.run()
	got := make(map[string]bool)
	for _, message := range s.mail("bob@example.net", len(under)) {
		got[subject(message)] = true
	}
	for name := range under {
		if !got[name] {
			t.Errorf("%s was answered 250 and not delivered", name)
		}
	}
}

// No client holds the end up longer than the grace period, and what was not answered is
// not delivered.
func TestShutdownIsBounded(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.write("Caddyfile", strings.ReplaceAll(s.caddyfile(layout{}), "grace_period 5s", "grace_period 300ms"))
	s.writeUsers("")
	s.run()
	var stuck []*talker
	for range 3 {
		c, err := s.alice(s.tlsConfig())
		if err != nil {
			t.Fatal(err)
		}
		defer c.close()
		err = all(
			func() error { return c.envelope("alice@example.org", "bob@example.net") },
			func() error { return c.do("354", "DATA") },
			func() error { return c.send("Subject: never whole\r\n") },
		)
		if err != nil {
			t.Fatal(err)
		}
		stuck = append(stuck, c)
	}
	began := time.Now()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := s.ended(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if took := time.Since(began); took > patience/2 {
		t.Errorf("a grace period of 300ms took %s", took)
	}
	for _, c := range stuck {
		if reply, err := c.reply(); err == nil && !strings.HasPrefix(reply, "4") {
			t.Errorf("a message that is not whole: %s", reply)
		}
	}
	s.run()
	if names, _ := filepath.Glob(filepath.Join(s.dir, "mail/example.net/bob/new/*")); len(names) != 0 {
		t.Errorf("half messages were delivered: %q", names)
	}
}

// What only reads a configuration goes beside a server that runs it: neither the spool's
// lock nor the sockets are asked for, and nobody is disturbed.
func TestValidateBesideServer(t *testing.T) {
	t.Parallel()
	l := layout{listen: "unix/$DIR/msa.sock|0660"}
	s := start(t, l)
	trust := s.tlsConfig()
	c, err := s.alice(trust)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	if err := c.envelope("alice@example.org", "bob@example.net"); err != nil {
		t.Fatal(err)
	}
	socket, err := os.Stat(filepath.Join(s.dir, "msa.sock"))
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		for _, args := range [][]string{{"validate"}, {"adapt"}, {"adapt", "--validate"}} {
			out, err := s.command(append(args, "--config", filepath.Join(s.dir, "Caddyfile"))...).CombinedOutput()
			if err != nil || bytes.Contains(out, []byte(`"level":"error"`)) {
				t.Errorf("caddy %s: %v\n%s", strings.Join(args, " "), err, out)
			}
		}
	}
	if now, err := os.Stat(filepath.Join(s.dir, "msa.sock")); err != nil || !os.SameFile(socket, now) {
		t.Errorf("the socket is another: %v", err)
	}
	if _, err := c.data(letter("astride")); err != nil {
		t.Error(err)
	}
	letterFrom(t, s, dial(t, "unix", filepath.Join(s.dir, "msa.sock")), trust, false, "unix")
	s.mustSend(trust, "alice@example.org", "alice@example.org", "bob@example.net", letter("after"))
	s.mail("bob@example.net", 2)
	if strings.Contains(s.log.String(), `"level":"error"`) {
		t.Error("the server logged an error")
	}
}

// A second process on a spool directory is told which, and what to do; the first goes on.
func TestSpoolInUse(t *testing.T) {
	t.Parallel()
	s := start(t, layout{})
	other := newServer(t)
	other.write("Caddyfile", strings.ReplaceAll(other.caddyfile(layout{}), "spool file "+other.dir, "spool file "+s.dir))
	other.writeUsers("")
	out, err := other.command("run", "--config", filepath.Join(other.dir, "Caddyfile")).CombinedOutput()
	if exit := new(exec.ExitError); !errors.As(err, &exit) || exit.ExitCode() == 0 {
		t.Fatalf("the second process ended with %v", err)
	}
	for _, want := range []string{filepath.Join(s.dir, "spool"), "stop", "directory of its own"} {
		if !bytes.Contains(out, []byte(want)) {
			t.Errorf("%q is not in:\n%s", want, out)
		}
	}
	s.mustSend(s.tlsConfig(), "alice@example.org", "alice@example.org", "bob@example.net", letter("goes on"))
	s.mail("bob@example.net", 1)
	s.stop()
	other.run() // its turn
	other.stop()
}

// The example is as caddy fmt writes it.
func TestFormatted(t *testing.T) {
	t.Parallel()
	out, err := exec.Command(binary, "fmt", "../Caddyfile.example").Output()
	if err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile("../Caddyfile.example")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(out, example) {
		t.Errorf("caddy fmt writes\n%s", out)
	}
}
