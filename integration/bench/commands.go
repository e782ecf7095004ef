//go:build linux

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/caddy-msa/caddy-msa/integration/bench/fill"
	"github.com/caddy-msa/caddy-msa/integration/bench/least"
	"github.com/caddy-msa/caddy-msa/integration/bench/load"
)

// loadCommand is the generator by itself.
func loadCommand(ctx context.Context, args []string) error {
	var o load.Options
	flags := flag.NewFlagSet("load", flag.ContinueOnError)
	flags.StringVar(&o.Addr, "addr", "127.0.0.1:587", "host:port of the server")
	flags.StringVar(&o.TLS, "tls", load.StartTLS, "starttls, implicit or none")
	flags.StringVar(&o.User, "user", "", "for AUTH PLAIN; without it there is no AUTH")
	flags.StringVar(&o.Password, "pass", "", "password")
	flags.StringVar(&o.From, "from", "", "sender; default the user")
	flags.StringVar(&o.To, "to", "", "recipient; default someone@example.net")
	flags.IntVar(&o.Clients, "clients", 1, "sessions at a time")
	flags.IntVar(&o.Messages, "messages", 1, "messages a session")
	flags.IntVar(&o.Size, "size", 4<<10, "octets of a message")
	flags.IntVar(&o.Sessions, "sessions", 0, "end after so many sessions")
	flags.DurationVar(&o.Duration, "duration", 0, "end after this time; default 5s")
	flags.DurationVar(&o.Warmup, "warmup", 0, "time before the measurement")
	idle := flags.Int("idle", 0, "open so many sessions, hold them for the duration, QUIT")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if o.Duration == 0 && o.Sessions == 0 {
		o.Duration = 5 * time.Second
	}
	if *idle > 0 {
		return holdIdle(ctx, o, *idle)
	}
	r, err := load.Run(ctx, o)
	if err != nil {
		return err
	}
	r.Print(os.Stdout)
	return nil
}

func holdIdle(ctx context.Context, o load.Options, n int) error {
	sessions, err := load.OpenIdle(ctx, o, n)
	if err != nil {
		return err
	}
	progress("%d sessions idle", n)
	select {
	case <-time.After(o.Duration):
	case <-ctx.Done():
	}
	progress("%d were lost", sessions.Close())
	return nil
}

// serveCommand is the least-work server by itself. The runner starts it as a
// process of its own, so that its use can be told from the generator's.
func serveCommand(ctx context.Context, args []string) error {
	var o least.Options
	flags := flag.NewFlagSet("serve", flag.ContinueOnError)
	addr := flags.String("addr", "127.0.0.1:2587", "address to listen on")
	cert := flags.String("cert", "", "PEM certificate; default a new one")
	key := flags.String("key", "", "its PEM key")
	plain := flags.Bool("plain", false, "no TLS")
	flags.StringVar(&o.User, "user", user, "for AUTH PLAIN; empty: none")
	flags.StringVar(&o.Pass, "pass", password, "password")
	flags.StringVar(&o.Store, "store", "discard", "discard, each (a file, synced, a message) or group (one log, shared syncs)")
	flags.StringVar(&o.Dir, "dir", ".", "directory of the store")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if !*plain {
		pair, err := keyPair(*cert, *key)
		if err != nil {
			return err
		}
		o.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	}
	s, err := least.New(o)
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", *addr)
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { ln.Close() })
	return s.Serve(ln)
}

func keyPair(certFile, keyFile string) (tls.Certificate, error) {
	if certFile != "" {
		return tls.LoadX509KeyPair(certFile, keyFile)
	}
	cert, key, err := least.Certificate()
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.X509KeyPair(cert, key)
}

// fillCommand puts messages that wait into a spool. It is a process of its own, whose memory ends with it.
func fillCommand(args []string) error {
	var o fill.Options
	flags := flag.NewFlagSet("fill", flag.ContinueOnError)
	flags.IntVar(&o.Messages, "messages", 1000, "how many")
	lanes := flags.String("lanes", "", "a file of lanes, one a line")
	flags.IntVar(&o.Due, "due", 0, "in how many of the lanes, the first ones, they are due; in the others in an hour")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() != 1 {
		return errors.New("usage: bench fill -lanes <file> [flags] <spool directory>")
	}
	var err error
	if o.Lanes, err = fieldsOf(*lanes); err != nil {
		return err
	}
	return fill.Spool(flags.Arg(0), o)
}

// leasesCommand prints what a lease takes of a spool that no server uses, in nanoseconds.
func leasesCommand(args []string) error {
	flags := flag.NewFlagSet("leases", flag.ContinueOnError)
	down := flags.String("down", "", "a file of the lanes that take nothing, one a line")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() != 1 {
		return errors.New("usage: bench leases [-down <file>] <spool directory>")
	}
	closed, err := fieldsOf(*down)
	if err != nil {
		return err
	}
	took, err := fill.Leases(flags.Arg(0), closed)
	if err == nil {
		fmt.Println(took.Nanoseconds())
	}
	return err
}

func fieldsOf(file string) ([]string, error) {
	text, err := os.ReadFile(file)
	return strings.Fields(string(text)), err
}
