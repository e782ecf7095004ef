package spoolfile

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"
)

// toCompact is a store with twelve tables that overlap and a log that was not written out yet.
func toCompact(t *testing.T, fs vfs.FS) {
	t.Helper()
	db, err := pebble.Open("db", &pebble.Options{FS: fs, FormatMajorVersion: pebble.FormatNewest, DisableAutomaticCompactions: true, Logger: quiet{}})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 13 {
		for _, key := range []string{"a", "z"} {
			if err := db.Set([]byte(key), fmt.Append(nil, i), pebble.Sync); err != nil {
				t.Fatal(err)
			}
		}
		if i < 12 {
			if err := db.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// Pebble closes its files when it fails to open; a compaction that ran by then would panic.
func TestNoCompactionBeforeOpen(t *testing.T) {
	fs := newFaulty(vfs.NewMem())
	toCompact(t, fs)
	fs.set(func(op, name string) error {
		if op == "create" && strings.HasSuffix(name, ".dbtmp") { // pebble's options: the last that it writes to open
			return errors.New("planted")
		}
		return nil
	})
	for range 50 {
		if _, err := openEngine(fs, "db", 1<<20, new(atomic.Int32), zap.NewNop()); err == nil || !strings.Contains(err.Error(), "planted") {
			t.Fatal(err)
		}
	}
	fs.set(nil)
	e, err := openEngine(fs, "db", 1<<20, new(atomic.Int32), zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	// What waited for the store to be open begins without a further write.
	for deadline := time.Now().Add(time.Minute); e.db.Metrics().Levels[0].TablesCount > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not compacted\n%v", e.db.Metrics())
		}
	}
	if err := e.close(); err != nil {
		t.Error(err)
	}
}
