//go:build linux

package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/caddy-msa/caddy-msa/integration/bench/least"
)

// The one user, whose password every server has as SHA512-CRYPT of the fewest
// rounds there are.
const (
	user     = "user@example.com"
	password = "bench-password"
	hash     = "$6$rounds=1000$benchsalt$CyTloOiCHw0hwUCEL4KBSJE6/8Z7ItZTLOqF5RXRcZ3Mf1YwmlnmAFy8X2n7sFrO3q/Lcp2MJiS6/MknC399Y0"
)

// bench is one run.
type bench struct {
	ctx     context.Context
	caddy   string        // our binary
	top     string        // directory of everything
	turn    time.Duration // of one measurement
	rounds  int           // of interleaved turns
	without []string

	mine      bool // whether top is ours to remove
	cert, key string
	sink      *least.Server // where all relayed mail ends
	sinkAddr  string
	sinkLn    net.Listener
	dirs      int // made so far
	report    *report
}

// row is a line of the table of bars, or a few that are measured together.
type row struct {
	name string
	run  func(*bench) error
}

// rows in the order of the table.
var rows = []row{
	{"sessions", (*bench).sessions},
	{"single", (*bench).single},
	{"many", (*bench).many},
	{"http", (*bench).http},
	{"large", (*bench).large},
	{"idle", (*bench).idle},
	{"start", (*bench).start},
	{"reload", (*bench).reload},
	{"cache", (*bench).cache},
	{"flood", (*bench).flood},
	{"refusal", (*bench).refusal},
	{"relay", (*bench).relay},
	{"drain", (*bench).drain},
	{"routes", (*bench).routes},
	{"lanes", (*bench).lanes},
	{"maildirs", (*bench).maildirs},
	{"waiting", (*bench).waiting},
	{"held", (*bench).held},
	{"shared", (*bench).shared},
	{"journal", (*bench).journal},
	{"log", (*bench).log},
}

func rowNames() (names []string) {
	for _, r := range rows {
		names = append(names, r.name)
	}
	return names
}

var began = time.Now()

// progress tells who waits what goes on.
func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%5.0f s  %s\n", time.Since(began).Seconds(), fmt.Sprintf(format, args...))
}

// open makes what all rows use.
func (b *bench) open() (err error) {
	if b.top == "" {
		parent := os.Getenv("TMPDIR")
		if parent == "" {
			parent = "/var/tmp" // on a disk, where /tmp may be in memory
		}
		if b.top, err = os.MkdirTemp(parent, "msa-bench-"); err != nil {
			return err
		}
		b.mine = true
	}
	if b.top, err = filepath.Abs(b.top); err != nil {
		return err
	}
	if err := os.Chmod(b.top, 0o755); err != nil { // Postfix's own user must get through
		return err
	}
	b.cert, b.key = filepath.Join(b.top, "cert.pem"), filepath.Join(b.top, "key.pem")
	cert, key, err := least.Certificate()
	if err != nil {
		return err
	}
	if err := os.WriteFile(b.cert, cert, 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(b.key, key, 0o600); err != nil {
		return err
	}
	if b.sink, err = least.New(least.Options{}); err != nil {
		return err
	}
	if b.sinkLn, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return err
	}
	b.sinkAddr = b.sinkLn.Addr().String()
	go func() { _ = b.sink.Serve(b.sinkLn) }()
	return nil
}

func (b *bench) close() {
	b.sinkLn.Close()
	if b.mine {
		os.RemoveAll(b.top)
	}
}

// run builds the server, goes through the rows and prints what came of it.
func (b *bench) run(chosen []row) error {
	b.report.facts(b.top)
	if b.caddy == "" && !slices.Contains(b.without, "server") {
		if err := b.build(); err != nil {
			return err
		}
	}
	var failed error
	for _, r := range chosen {
		progress("row %s", r.name)
		if err := r.run(b); err != nil {
			if b.ctx.Err() != nil {
				failed = b.ctx.Err()
				break
			}
			progress("row %s failed: %v", r.name, err)
			b.report.add(r.name, "", err.Error(), "failed")
			failed = fmt.Errorf("row %s: %w", r.name, err)
		}
	}
	progress("done")
	b.report.print(os.Stdout)
	if n := b.report.missed; n > 0 && failed == nil {
		failed = fmt.Errorf("%d of the bars were missed", n)
	}
	return failed
}

func (b *bench) build() error {
	progress("building ./xcaddy")
	b.caddy = filepath.Join(b.top, "caddy")
	cmd := exec.CommandContext(b.ctx, "go", "build", "-o", b.caddy, "github.com/caddy-msa/caddy-msa/xcaddy")
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("building the server: %w", err)
	}
	return nil
}

// directory makes a new one for a server.
func (b *bench) directory(name string) (string, error) {
	b.dirs++
	dir := filepath.Join(b.top, fmt.Sprintf("%s-%d", name, b.dirs))
	return dir, os.Mkdir(dir, 0o755)
}

// sleep waits, or says that the run is over.
func (b *bench) sleep(d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-b.ctx.Done():
		return b.ctx.Err()
	}
}
