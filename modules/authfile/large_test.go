package authfile

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/installed"
)

// 500,000 users (100,000 outside CI) that are read again, one of them changed, need half as much memory again at most; a
// reload of the configuration needs none.
func TestLargeFile(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	path := filepath.Join(t.TempDir(), "users")
	write := func(changed int) {
		t.Helper()
		var b bytes.Buffer
		for i := range installed.Rounds(500_000, 100_000) {
			password := "{SHA256}K7gNU3sdo+OL0wNhqoVWhr3g6s1xYv72ol/pe/Unols="
			if i == changed {
				password = "{PLAIN}changed"
			}
			fmt.Fprintf(&b, "user%d@department%d.example.org:%s\n", i, i%100, password)
		}
		if err := os.WriteFile(path+".new", b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		old := time.Unix(int64(changed+1000), 0)
		if err := os.Chtimes(path+".new", old, old); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	write(-1)
	before := heap()
	f, err := provision(t, path)
	if err != nil {
		t.Fatal(err)
	}
	one := heap() - before
	table := f.file.Load()
	next, err := provision(t, path)
	if err != nil || next.file.Load() != table {
		t.Fatal("the next configuration has the file in memory again", err)
	}
	write(77_777)
	began := time.Now()
	if err := f.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	took := time.Since(began)
	both := heap() - before // the table before is still referenced here
	t.Logf("%d MiB; old and new together %d MiB, read in %v", one>>20, both>>20, took)
	if float64(both) > 1.5*float64(one) {
		t.Errorf("%d octets, old and new together %d", one, both)
	}
	if f.file.Load() == table || f.file.Load().Lookup("user77777@department77.example.org").Credentials[0].Scheme() == table.Lookup("user77777@department77.example.org").Credentials[0].Scheme() {
		t.Error("the change is not there")
	}
	runtime.KeepAlive(table)
}
