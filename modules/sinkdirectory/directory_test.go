package sinkdirectory

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-msa/caddy-msa/caddymsa/durable"
	"github.com/caddy-msa/caddy-msa/caddymsa/envelope"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

func open(t testing.TB) *Directory {
	t.Helper()
	s := &Directory{Path: filepath.Join(t.TempDir(), "new", "out")}
	if err := s.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *Directory) files(t testing.TB, suffix string) (all [][]byte) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(s.path, "*"+suffix))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b)
	}
	return all
}

func TestConformance(t *testing.T) {
	msatest.Sink(t, func(t testing.TB) (queue.Sink, func() [][]byte) {
		s := open(t)
		return s, func() [][]byte { return s.files(t, ".eml") }
	})
}

// A delivery is a message and an envelope beside it; again, it is the same two files.
func TestFiles(t *testing.T) {
	s := open(t)
	d := msatest.NewDelivery([]byte("Subject: x\r\n\r\nbody\r\n"), "bob@example.org", "carol@example.org")
	for range 2 {
		if err := s.Deliver(context.Background(), d); err != nil {
			t.Fatal(err)
		}
	}
	all, err := os.ReadDir(s.path)
	if err != nil || len(all) != 2 {
		t.Fatalf("%v, %v", all, err)
	}
	for _, f := range all {
		info, err := f.Info()
		if err != nil || info.Mode().Perm() != 0o600 || !strings.HasPrefix(f.Name(), envelope.Key(d)) {
			t.Errorf("%s %v, %v", f.Name(), info.Mode(), err)
		}
	}
	var v envelope.Envelope
	if err := json.Unmarshal(s.files(t, ".json")[0], &v); err != nil || v.ID != d.Entry.ID || len(v.Recipients) != 2 || v.Recipients[1].Address != "carol@example.org" {
		t.Errorf("%+v, %v", v, err)
	}
}

// A node that goes on after its lease has ended leaves alone what the next one writes under the same name.
func TestTakenOver(t *testing.T) {
	s := open(t)
	if err := s.prepare(); err != nil {
		t.Fatal(err)
	}
	hidden := filepath.Join(s.path, ".x.eml")
	err := s.write(t.Context(), "x.eml", func(io.Writer) error {
		if err := os.Remove(hidden); err != nil {
			return err
		}
		return os.WriteFile(hidden, []byte("half"), 0o600)
	})
	if half, readErr := os.ReadFile(hidden); !errors.Is(err, durable.ErrTakenOver) || string(half) != "half" || len(s.files(t, ".eml")) != 1 {
		t.Errorf("%v; the other node's file is %q, %v", err, half, readErr)
	}
}

// Where nothing can be written the queue learns that it is not the message's fault.
func TestUnwritable(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := &Directory{Path: filepath.Join(file, "below")}
	if err := s.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	err := s.Deliver(context.Background(), msatest.NewDelivery([]byte("x\r\n"), "bob@example.org"))
	if err == nil || queue.OutcomeOf(err) != queue.OutcomeDeferred {
		t.Error(err)
	}
	if err := new(Directory).Provision(caddy.Context{}); err == nil {
		t.Error("no path, no error")
	}
	if err := (&Directory{Path: "~/mail"}).Provision(caddy.Context{}); err == nil {
		t.Error("a directory named ~ would be made")
	}
}

// Where no file can be made all messages wait for that, whoever's they are. What goes wrong in the midst of one is alike in
// what two users' messages say, so that the queue sees that it is not theirs.
func TestWhoseFault(t *testing.T) {
	s := open(t)
	if err := s.prepare(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(s.path, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	none := &Directory{Path: file}
	if err := none.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	if err := none.Deliver(t.Context(), msatest.NewDelivery([]byte("x\r\n"), "bob@example.org")); !queue.IsUnreachable(err) {
		t.Error(err)
	}
	d := msatest.NewDelivery([]byte("x\r\n"), "bob@example.org")
	if err := os.Mkdir(filepath.Join(s.path, envelope.Key(d)+".eml"), 0o700); err != nil { // nothing can be renamed to that
		t.Fatal(err)
	}
	if err := s.Deliver(t.Context(), d); err == nil || queue.IsUnreachable(err) || !strings.HasPrefix(err.Error(), "directory: ") {
		t.Error(err)
	}
}

// Log, history and events say by which name the message is found.
func TestAnswered(t *testing.T) {
	s := &Directory{Path: t.TempDir()}
	if err := s.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	d := msatest.NewDelivery([]byte("x: y\r\n\r\n"), "bob@example.org")
	if err := s.Deliver(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	a := d.AnswerOf(d.Recipients[0])
	if _, err := os.Stat(s.Path + "/" + a.ID + ".eml"); err != nil || a.Reply != "stored in "+s.Path {
		t.Errorf("%+v, %v", a, err)
	}
}
