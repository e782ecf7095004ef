package watch

import (
	"crypto/sha256"
	"encoding/binary"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"
	"weak"
)

// Memo reads files of one kind for those who watch them by themselves, or not at all: certificates, keys. What the files say is
// in memory once, for as long as anybody has it; files that are what they were are not read again, as when a configuration is
// loaded that has them too. A kind of file has one Memo in the process.
type Memo[T any] struct {
	// Parse makes of the files' contents what they say, which may not be changed later.
	Parse func(contents [][]byte, paths []string) (*T, error)

	mu    sync.Mutex
	known map[string]*known[T]
}

// known is what some files said when they were read.
type known[T any] struct {
	mu     sync.Mutex // reading
	value  weak.Pointer[T]
	states []fileState
	at     time.Time
	sum    [sha256.Size]byte
}

// Read returns what the files say, several together, such as a certificate and its key.
func (m *Memo[T]) Read(paths ...string) (*T, error) {
	var key string
	for _, path := range paths {
		abs, err := filepath.Abs(path)
		if err != nil {
			return nil, err
		}
		key += abs + "\x00"
	}
	m.mu.Lock()
	k := m.known[key]
	if k == nil {
		k = new(known[T])
		if m.known == nil {
			m.known = make(map[string]*known[T])
		}
		m.known[key] = k
	}
	m.mu.Unlock()
	k.mu.Lock()
	defer k.mu.Unlock()
	value := k.value.Value()
	states := make([]fileState, len(paths))
	for i, path := range paths {
		states[i] = stateOf(path)
	}
	if value != nil && slices.EqualFunc(states, k.states, fileState.equal) &&
		!slices.ContainsFunc(states, func(s fileState) bool { return k.at.Sub(s.modified) <= racy }) {
		return value, nil
	}
	at := time.Now()
	contents, sum, err := readAll(paths)
	if err != nil {
		return nil, err
	}
	if value == nil || sum != k.sum {
		if value, err = m.Parse(contents, paths); err != nil {
			return nil, err
		}
		k.value = weak.Make(value)
		runtime.AddCleanup(value, m.forget, key)
	}
	k.states, k.at, k.sum = states, at, sum
	return value, nil
}

func readAll(paths []string) (contents [][]byte, sum [sha256.Size]byte, err error) {
	hash := sha256.New()
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, sum, err
		}
		contents = append(contents, b)
		_ = binary.Write(hash, binary.BigEndian, int64(len(b)))
		hash.Write(b)
	}
	return contents, [sha256.Size]byte(hash.Sum(nil)), nil
}

// forget is called when nobody has what some files said any more.
func (m *Memo[T]) forget(key string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := m.known[key]
	if k == nil || !k.mu.TryLock() { // it is being read again
		return
	}
	defer k.mu.Unlock()
	if k.value.Value() == nil {
		delete(m.known, key)
	}
}
