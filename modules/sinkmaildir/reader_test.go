package sinkmaildir

import (
	"context"
	"io"
	"path/filepath"
	"testing"

	gomaildir "github.com/emersion/go-maildir"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
)

// a reader that is not ours takes what is new, marks it, and finds it again.
func TestReader(t *testing.T) {
	dir := t.TempDir()
	s := newSink(t, filepath.Join(dir, "{msa.recipient}"))
	const message = "Subject: x\r\n\r\n.dot\r\n"
	d := msatest.NewDelivery([]byte(message), "bob@example.net")
	if err := s.Deliver(context.Background(), d); err != nil {
		t.Fatal(err)
	}
	box := gomaildir.Dir(filepath.Join(dir, "bob@example.net"))
	unseen, err := box.Unseen()
	if err != nil || len(unseen) != 1 {
		t.Fatalf("%d messages unseen, %v", len(unseen), err)
	}
	if err := unseen[0].SetFlags([]gomaildir.Flag{gomaildir.FlagSeen}); err != nil {
		t.Fatal(err)
	}
	again, err := box.MessageByKey(unseen[0].Key())
	if err != nil {
		t.Fatal(err)
	}
	r, err := again.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got, err := io.ReadAll(r)
	if want := "Return-Path: <alice@example.org>\r\n" + message; string(got) != want || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}
