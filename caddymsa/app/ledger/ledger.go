// Package ledger remembers which spools were opened and not emptied since, a file each, so that one that a former
// configuration left behind can be named. It does what it can: nothing depends on it but a line in the log.
package ledger

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/certmagic"
)

// root is the place in the storage of the configuration that started last.
var root atomic.Pointer[string]

// Place has the ledger where Caddy's storage is, if that is files; else it is in Caddy's data directory.
func Place(storage certmagic.Storage) {
	if files, ok := storage.(*certmagic.FileStorage); ok {
		dir := filepath.Join(files.Path, "msa", "spools")
		root.Store(&dir)
	}
}

func dir() string {
	if dir := root.Load(); dir != nil {
		return *dir
	}
	return filepath.Join(caddy.AppDataDir(), "msa", "spools")
}

func path(key string) string {
	sum := sha256.Sum256([]byte(key))
	return filepath.Join(dir(), hex.EncodeToString(sum[:8]))
}

// Remember notes that a spool is open, by its key.
func Remember(key string) {
	if b, err := os.ReadFile(path(key)); err == nil && strings.TrimSpace(string(b)) == key {
		return
	}
	if os.MkdirAll(dir(), 0o700) == nil {
		_ = os.WriteFile(path(key), []byte(key+"\n"), 0o600)
	}
}

// Forget notes that a spool was left empty.
func Forget(key string) { _ = os.Remove(path(key)) }

// Remembered are the spools that were opened and not left empty.
func Remembered() (keys []string) {
	files, _ := os.ReadDir(dir())
	for _, f := range files {
		b, err := os.ReadFile(filepath.Join(dir(), f.Name()))
		key := strings.TrimSpace(string(b))
		if err != nil || key == "" {
			continue
		}
		if dir, ok := strings.CutPrefix(key, "file:"); ok {
			if _, err := os.Stat(filepath.Join(dir, "store")); os.IsNotExist(err) {
				Forget(key)
				continue
			}
		}
		keys = append(keys, key)
	}
	return keys
}
