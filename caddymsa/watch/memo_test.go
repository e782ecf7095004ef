package watch

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// said is large enough for the garbage collector to see it by itself.
type said struct {
	text string
	_    [4]*int
}

func memo() (*Memo[said], *atomic.Int32) {
	n := new(atomic.Int32)
	return &Memo[said]{Parse: func(contents [][]byte, _ []string) (*said, error) {
		n.Add(1)
		text := string(bytes.Join(contents, []byte("+")))
		if text == "bad" {
			return nil, errors.New("bad")
		}
		return &said{text: text}, nil
	}}, n
}

// Files that are what they were are in memory once, and are not read again.
func TestMemo(t *testing.T) {
	m, parsed := memo()
	dir := t.TempDir()
	one, two := filepath.Join(dir, "one"), filepath.Join(dir, "two")
	write(t, one, "1")
	write(t, two, "2")
	age(t, one, time.Hour)
	age(t, two, time.Hour)
	first, err := m.Read(one, two)
	must(t, err)
	if first.text != "1+2" {
		t.Fatal(first.text)
	}
	must(t, os.Chmod(one, 0)) // root reads it all the same: the count tells, too
	for range 3 {
		again, err := m.Read(one, two)
		must(t, err)
		if again != first || parsed.Load() != 1 {
			t.Fatalf("another in memory, parsed %d times", parsed.Load())
		}
	}
	must(t, os.Chmod(one, 0o600))
	age(t, one, 2*time.Hour) // touched: the content is the same
	if again, err := m.Read(one, two); err != nil || again != first || parsed.Load() != 1 {
		t.Fatalf("%v, parsed %d times", err, parsed.Load())
	}
	write(t, one, "3")
	changed, err := m.Read(one, two)
	must(t, err)
	if changed.text != "3+2" || first.text != "1+2" {
		t.Error(changed.text, first.text)
	}
	write(t, one, "4") // within the same tick, perhaps
	if changed, err = m.Read(one, two); err != nil || changed.text != "4+2" {
		t.Error(changed, err)
	}
	write(t, one, "bad")
	if _, err := m.Read(one); err == nil {
		t.Error("no error")
	}
	must(t, os.Remove(two))
	if _, err := m.Read(one, two); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	runtime.KeepAlive(first)
}

// What nobody has any more goes.
func TestMemoForgets(t *testing.T) {
	m, _ := memo()
	path := filepath.Join(t.TempDir(), "f")
	write(t, path, "1")
	func() {
		held, err := m.Read(path)
		must(t, err)
		runtime.GC()
		if again, err := m.Read(path); err != nil || again != held {
			t.Error("gone while it was in use")
		}
		runtime.KeepAlive(held)
	}()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(time.Millisecond) {
		runtime.GC()
		m.mu.Lock()
		n := len(m.known)
		m.mu.Unlock()
		if n == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("it stays in memory")
		}
	}
}

func TestMemoConcurrently(t *testing.T) {
	m, parsed := memo()
	path := filepath.Join(t.TempDir(), "f")
	write(t, path, "1")
	var kept [8]*said
	var wg sync.WaitGroup
	for i := range kept {
		wg.Go(func() {
			for range 100 {
				var err error
				if kept[i], err = m.Read(path); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if parsed.Load() != 1 {
		t.Errorf("parsed %d times", parsed.Load())
	}
	runtime.KeepAlive(&kept)
}
