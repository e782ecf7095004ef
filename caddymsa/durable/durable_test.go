package durable_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa/durable"
)

type dir struct {
	sync, close    error
	synced, closed bool
}

func (d *dir) Sync() error  { d.synced = true; return d.sync }
func (d *dir) Close() error { d.closed = true; return d.close }

// A directory is synced and closed, and what fails of it is told.
func TestSyncDir(t *testing.T) {
	failed := errors.New("failed")
	for _, tt := range []struct {
		dir  dir
		want error
	}{{dir{}, nil}, {dir{sync: failed}, failed}, {dir{close: failed}, failed}} {
		d := tt.dir
		err := durable.SyncDir(func(string) (*dir, error) { return &d, nil }, "spool")
		if !errors.Is(err, tt.want) || !d.synced || !d.closed {
			t.Errorf("%+v: %v", d, err)
		}
	}
	if err := durable.SyncDir(func(string) (*dir, error) { return nil, failed }, "spool"); !errors.Is(err, failed) {
		t.Error(err)
	}
	if err := durable.SyncDir(os.Open, t.TempDir()); err != nil {
		t.Error(err)
	}
}

func TestMkdirAll(t *testing.T) {
	top := t.TempDir()
	path := filepath.Join(top, "a", "b", "c")
	for range 2 {
		if err := durable.MkdirAll(path, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if info, err := os.Stat(path); err != nil || !info.IsDir() || info.Mode().Perm() != 0o700 {
		t.Error(info, err)
	}
	file := filepath.Join(top, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if durable.MkdirAll(filepath.Join(file, "d"), 0o700) == nil {
		t.Error("a directory in a file")
	}
}
