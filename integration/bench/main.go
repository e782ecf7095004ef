//go:build linux

// Command bench measures this server beside the least that any such server must
// do, and beside Postfix with Dovecot, on one machine in one run:
//
//	make bench
//	go run ./integration/bench -short -row sessions
//	go run ./integration/bench load -addr 127.0.0.1:587 -user u@example.com -pass p
//	go run ./integration/bench serve -addr 127.0.0.1:2587 -store group
//	go run ./integration/bench fill -messages 200000 -lanes <file> <spool directory>
//
// It prints the project's table of bars with what was measured. Everything stays
// on loopback and in one directory, which is removed at the end. Root is needed
// for Postfix and Dovecot only.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) > 0 {
		switch args[0] {
		case "load":
			return loadCommand(ctx, args[1:])
		case "serve":
			return serveCommand(ctx, args[1:])
		case "fill":
			return fillCommand(args[1:])
		case "leases":
			return leasesCommand(args[1:])
		}
	}
	b := &bench{ctx: ctx, report: new(report)}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	short := flags.Bool("short", false, "2 s a measurement, not 5")
	only := flags.String("row", "", "only these rows, of "+strings.Join(rowNames(), ", "))
	without := flags.String("without", "", "leave out server, limit or postfix, for work on this program")
	cpus := flags.Int("cpus", 2, "cores for everything; 0 is all")
	flags.StringVar(&b.caddy, "server", "", "the binary; default is what ./xcaddy builds")
	flags.StringVar(&b.top, "dir", "", "where everything is kept, on a real disk; default a new directory in $TMPDIR or /var/tmp")
	flags.IntVar(&b.rounds, "rounds", 3, "turns of each server in a row")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if err := confine(*cpus); err != nil {
		return err
	}
	b.turn = 5 * time.Second
	if *short {
		b.turn = 2 * time.Second
	}
	b.without = strings.Split(*without, ",")
	chosen, err := choose(*only)
	if err != nil {
		return err
	}
	if err := b.open(); err != nil {
		return err
	}
	defer b.close()
	return b.run(chosen)
}

// confine goes on in a process that has only so many cores, as all that it starts.
func confine(cpus int) error {
	if cpus <= 0 || runtime.NumCPU() <= cpus || os.Getenv("BENCH_CONFINED") != "" {
		return nil
	}
	taskset, err := exec.LookPath("taskset")
	if err != nil {
		fmt.Fprintf(os.Stderr, "taskset is not installed: using all %d cores\n", runtime.NumCPU())
		return nil
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	args := append([]string{taskset, "-c", fmt.Sprintf("0-%d", cpus-1), self}, os.Args[1:]...)
	return syscall.Exec(taskset, args, append(os.Environ(), "BENCH_CONFINED=1"))
}

func choose(only string) ([]row, error) {
	if only == "" {
		return rows, nil
	}
	names := strings.Split(only, ",")
	for _, name := range names {
		if !slices.Contains(rowNames(), name) {
			return nil, fmt.Errorf("unknown row %q; there are %s", name, strings.Join(rowNames(), ", "))
		}
	}
	var chosen []row
	for _, r := range rows {
		if slices.Contains(names, r.name) {
			chosen = append(chosen, r)
		}
	}
	return chosen, nil
}
