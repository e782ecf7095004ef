package spoolfile

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// A spool whose envelopes have no checksums, which the version before wrote, opens without a word, and can be damaged like
// others.
func TestThirdVersion(t *testing.T) {
	dir := untar(t, "version3.tar.gz", t.TempDir())
	for range 2 {
		core, logged := observer.New(zapcore.WarnLevel)
		s, err := Open(dir, Options{Ballast: -1, Reserve: -1, Log: zap.New(core)})
		if err != nil {
			t.Fatal(err)
		}
		held := 0
		if err := s.List(background, "", func(m *queue.EntryView) bool {
			if m.Status.Held != "" {
				held++
			}
			return true
		}); err != nil || held != 1 {
			t.Errorf("%d held, %v", held, err)
		}
		if n, _, err := s.Check(background, func(int) {}, func(id, problem string) { t.Errorf("%s: %s", id, problem) }); n != 5 || err != nil {
			t.Errorf("%d messages, %v", n, err)
		}
		served := make(map[string]bool)
		for {
			l, _, err := s.Lease(background, noon, queue.Want{})
			if err != nil {
				break
			}
			r, err := l.Open(background)
			if err != nil {
				t.Fatal(err)
			}
			b, _ := io.ReadAll(r)
			r.Close()
			if id := l.Entry().ID; !bytes.HasPrefix(b, []byte(testHeader+"message "+id[1:])) || int64(len(b)) != l.Entry().Size {
				t.Errorf("%s: %.60q", id, b)
			}
			served[l.Entry().ID] = true
		}
		if len(served) != 4 {
			t.Errorf("served %v", served)
		}
		if err := s.Close(); err != nil || logged.Len() > 0 {
			t.Errorf("%v, %v", err, logged.All())
		}
	}
}

// Whatever is in a log, reading it ends, and what is read of it lies in it, in its order.
func FuzzLog(f *testing.F) {
	for _, b := range sampleStore(f) {
		f.Add(b, uint16(2), false)
		f.Add(b[:len(b)/2], uint16(2), true)
	}
	f.Fuzz(func(t *testing.T, b []byte, log uint16, closed bool) {
		records, gaps := scanLog(b, uint64(log), closed)
		at := 0
		for i := range records {
			r := &records[i]
			if r.offset < at || r.end > len(b) || r.end < r.offset {
				t.Fatalf("record %d to %d after %d of %d", r.offset, r.end, at, len(b))
			}
			at = r.end
			_, _, _ = readBatch(r.octets, func(uint64, byte, []byte, []byte) {})
			_ = r.trusted()
		}
		at = 0
		for _, g := range gaps {
			if g.offset < at || g.end > len(b) || g.end < g.offset || g.broken < g.offset {
				t.Fatalf("gap %+v after %d of %d", g, at, len(b))
			}
			at = g.end
			_ = mentioned(payloads(b[g.offset:g.end], g.offset, uint64(log)))
		}
		_ = readNumbers(b)
		carve(b, func(string, []byte) {})
	})
}

// Whatever is in a table, reading it ends.
func FuzzTable(f *testing.F) {
	for _, b := range sampleStore(f) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		mem := newFaulty(vfs.NewMem())
		if err := writeFile(mem, "000001.sst", b); err != nil {
			t.Fatal(err)
		}
		if _, err := readTable(mem, "000001.sst", func(uint64, byte, []byte, []byte) {}); err != nil {
			t.Fatal(err)
		}
	})
}

// sampleStore is what is in the log, the manifest and the table of a store.
func sampleStore(tb testing.TB) (files [][]byte) {
	tb.Helper()
	fs := vfs.NewMem()
	s, err := Open("/spool", testOptions(newFaulty(fs)))
	if err != nil {
		tb.Fatal(err)
	}
	defer s.Close()
	for i := range 4 {
		if err := submit(s, fmt.Sprintf("Q%03d", i)); err != nil {
			tb.Fatal(err)
		}
		if eng, err := s.engine(); err == nil && i == 2 {
			if err := eng.flush(); err != nil {
				tb.Fatal(err)
			}
		}
	}
	names, err := fs.List("/spool/store")
	if err != nil {
		tb.Fatal(err)
	}
	for _, name := range names {
		if holdsMessages(name) {
			b, err := readFile(fs, "/spool/store/"+name)
			if err != nil {
				tb.Fatal(err)
			}
			files = append(files, b)
		}
	}
	return files
}
