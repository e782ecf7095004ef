package logbuffered

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// kept is a writer behind, which counts what it is called for.
type kept struct {
	mu     sync.Mutex
	text   bytes.Buffer
	writes int
	closed int
	err    error
}

func (k *kept) Write(p []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.writes++
	k.text.Write(p)
	return len(p), k.err
}

func (k *kept) Close() error {
	k.closed++
	return nil
}

func (k *kept) seen() (string, int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.text.String(), k.writes
}

// Lines wait for as long as is said and no longer; then there is one write, and none while there is nothing.
func TestFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := new(kept)
		w := newWriter(k, time.Second)
		for range 3 {
			if _, err := io.WriteString(w, "line\n"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(300 * time.Millisecond)
		}
		if text, n := k.seen(); n != 0 {
			t.Errorf("%d writes before the time: %q", n, text)
		}
		time.Sleep(time.Minute)
		if text, n := k.seen(); n != 1 || text != strings.Repeat("line\n", 3) {
			t.Errorf("%d writes: %q", n, text)
		}
		_, _ = io.WriteString(w, "last\n")
		if err := w.Close(); err != nil || k.closed != 1 {
			t.Error(err, k.closed)
		}
		_, _ = io.WriteString(w, "after\n") // Caddy says "shutdown complete" when its logs are closed
		if text, _ := k.seen(); !strings.HasSuffix(text, "last\nafter\n") {
			t.Errorf("%q", text)
		}
	})
}

// What goes wrong with lines that are written at intervals the next line tells, once; zap says so on stderr.
func TestFailedFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &kept{err: errors.New("disk full")}
		w := newWriter(k, time.Second)
		if _, err := io.WriteString(w, "lost\n"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		k.mu.Lock()
		full := k.err
		k.err = nil
		k.mu.Unlock()
		if _, err := io.WriteString(w, "next\n"); !errors.Is(err, full) {
			t.Error(err)
		}
		if _, err := io.WriteString(w, "last\n"); err != nil {
			t.Error(err)
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
}

// However many write at once, each line comes whole, and those of one writer in order; a buffer that is full does not wait.
func TestLines(t *testing.T) {
	k := new(kept)
	w := newWriter(k, time.Hour)
	const writers, lines = 8, 2000
	var all sync.WaitGroup
	for i := range writers {
		all.Go(func() {
			for n := range lines {
				_, _ = io.WriteString(w, string(rune('a'+i))+strings.Repeat("x", 100)+string(rune('0'+n%10))+"\n")
			}
		})
	}
	all.Wait()
	if _, n := k.seen(); n == 0 || n > writers*lines/100 {
		t.Errorf("%d writes", n)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	text, _ := k.seen()
	next := make(map[byte]int)
	for line := range strings.Lines(text) {
		who := line[0]
		if line[1:] != strings.Repeat("x", 100)+string(rune('0'+next[who]%10))+"\n" {
			t.Fatalf("%q after %d lines", line, next[who])
		}
		next[who]++
	}
	for who, n := range next {
		if n != lines {
			t.Errorf("%d lines of %c", n, who)
		}
	}
	k.err = errors.New("disk full")
	w = newWriter(k, time.Hour)
	if _, err := w.Write(bytes.Repeat([]byte("x"), bufferSize)); !errors.Is(err, k.err) {
		t.Error(err)
	}
}

func TestCaddyfile(t *testing.T) {
	for text, want := range map[string]string{
		"buffered":                               "wrap file",
		"buffered file x":                        "settings stand in a block",
		"buffered {\nwrap\n}":                    "wrap takes a writer, as in: wrap file",
		"buffered {\nwrap stderr x\n}":           "wrap stderr takes nothing more",
		"buffered {\nwrap nonsense\n}":           "nonsense",
		"buffered {\nwrap stderr\nflush 1h\n}":   "at most 1m0s",
		"buffered {\nwrap stderr\nflush fast\n}": "not a duration",
		"buffered {\nwrap stderr\nflush 2s\n}":   "",
	} {
		b := new(Buffered)
		err := b.UnmarshalCaddyfile(caddyfile.NewTestDispenser(text))
		if err == nil {
			ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
			err = b.Provision(ctx)
			cancel()
		}
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
		if want == "" && (b.WriterKey() != "buffered:2s:std:err" || b.String() != "buffered, stderr") {
			t.Errorf("%q %q", b.WriterKey(), b.String())
		}
	}
}
