package watch

import (
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/zap"
)

// What reads a changed file may panic: the watch goes on.
func TestPanic(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users")
	write(t, path, "a")
	changes := make(chan struct{}, 100)
	w := (&watcher{
		paths: []string{path}, log: zap.NewNop(), changed: func() { changes <- struct{}{}; panic("a bug") },
		settle: time.Millisecond, patience: time.Minute, poll: 10 * time.Millisecond,
	}).start()
	defer w.Close()
	write(t, path, "b")
	await(t, changes, "the first write")
	write(t, path, "longer")
	await(t, changes, "the second write, after a panic")
}
