// Package compare measures what the spool could have been built on. Run it with
//
//	go test -run=NONE -bench=. ./modules/spoolfile/internal/compare/
//
// The numbers that decided are in ../../README.md.
package compare

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

const (
	small = 4 << 10
	large = 20 << 20
)

// candidate is the little that a spool needs: both calls return when what they
// did is on stable storage.
type candidate interface {
	put(id uint64, envelope, body []byte) error
	del(id uint64) error
	syncs() int64
	close() error
}

var candidates = []struct {
	name string
	open func(dir string) (candidate, error)
}{
	{"pebble", openPebble},
	{"pebble+file", openPebbleFiles},
	{"bbolt", openBolt},
	{"files", openFiles},
	{"log", openLog},
}

func BenchmarkSmall(b *testing.B) {
	for _, c := range candidates {
		if c.name == "pebble+file" {
			continue // the same as pebble for small ones
		}
		for _, writers := range []int{1, 16, 64} {
			b.Run(fmt.Sprintf("%s/writers=%d", c.name, writers), func(b *testing.B) { run(b, c.open, writers, small) })
		}
	}
}

func BenchmarkLarge(b *testing.B) {
	for _, c := range candidates {
		b.Run(c.name, func(b *testing.B) { run(b, c.open, 4, large) })
	}
}

func run(b *testing.B, open func(string) (candidate, error), writers, size int) {
	c, err := open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	envelope, body := make([]byte, 600), make([]byte, size)
	for i := range body {
		body[i] = byte(i * 7919 >> 3)
	}
	var next atomic.Uint64
	b.SetBytes(int64(size))
	before, cpu := c.syncs(), cpuTime()
	b.ResetTimer()
	var wg sync.WaitGroup
	for range writers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for {
				id := next.Add(1)
				if id > uint64(b.N) {
					return
				}
				if err := c.put(id, envelope, body); err != nil {
					b.Error(err)
					return
				}
				if err := c.del(id); err != nil {
					b.Error(err)
					return
				}
			}
		}()
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
	b.ReportMetric(float64(c.syncs()-before)/float64(b.N), "syncs/msg")
	b.ReportMetric(float64(cpuTime()-cpu)/float64(b.N)/1e3, "cpu-us/msg")
	if err := c.close(); err != nil {
		b.Fatal(err)
	}
}

func cpuTime() int64 {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u)
	return u.Utime.Nano() + u.Stime.Nano()
}

func key(prefix byte, id uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{prefix}, id)
}

// pebble: both in the store.

type pebbleStore struct {
	db *pebble.DB
	fs *countFS
}

func openPebble(dir string) (candidate, error) {
	fs := &countFS{FS: vfs.Default}
	opts := &pebble.Options{FS: fs, MemTableSize: 4 << 20, CacheSize: 1 << 20, MaxOpenFiles: 64,
		FormatMajorVersion: pebble.FormatNewest, Logger: quiet{}}
	db, err := pebble.Open(dir, opts)
	return &pebbleStore{db, fs}, err
}

func (s *pebbleStore) put(id uint64, envelope, body []byte) error {
	batch := s.db.NewBatchWithSize(len(envelope) + len(body) + 64)
	_ = batch.Set(key('e', id), envelope, nil)
	_ = batch.Set(key('b', id), body, nil)
	return batch.Commit(pebble.Sync)
}

func (s *pebbleStore) del(id uint64) error {
	batch := s.db.NewBatch()
	_ = batch.Delete(key('e', id), nil)
	_ = batch.Delete(key('b', id), nil)
	return batch.Commit(pebble.Sync)
}

func (s *pebbleStore) syncs() int64 { return s.fs.n.Load() }
func (s *pebbleStore) close() error { return s.db.Close() }

// pebbleFiles: the envelope in the store, the body beside it.
type pebbleFiles struct {
	pebbleStore
	dir *os.File
}

func openPebbleFiles(dir string) (candidate, error) {
	p, err := openPebble(filepath.Join(dir, "store"))
	if err != nil {
		return nil, err
	}
	d, err := os.Open(dir)
	return &pebbleFiles{*p.(*pebbleStore), d}, err
}

func (s *pebbleFiles) put(id uint64, envelope, body []byte) error {
	if err := writeFile(s.name(id), &s.fs.n, body); err != nil {
		return err
	}
	s.fs.n.Add(1)
	if err := s.dir.Sync(); err != nil {
		return err
	}
	return s.db.Set(key('e', id), envelope, pebble.Sync)
}

func (s *pebbleFiles) del(id uint64) error {
	if err := s.db.Delete(key('e', id), pebble.Sync); err != nil {
		return err
	}
	return os.Remove(s.name(id))
}

func (s *pebbleFiles) name(id uint64) string { return filepath.Join(s.dir.Name(), fmt.Sprint(id)) }

func writeFile(name string, syncs *atomic.Int64, parts ...[]byte) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, p := range parts {
		for len(p) > 0 {
			n := min(len(p), 64<<10)
			if _, err := f.Write(p[:n]); err != nil {
				return err
			}
			p = p[n:]
		}
	}
	syncs.Add(1)
	return f.Sync()
}

// bbolt: Batch shares a transaction.

type boltStore struct{ db *bbolt.DB }

func openBolt(dir string) (candidate, error) {
	db, err := bbolt.Open(filepath.Join(dir, "db"), 0o600, &bbolt.Options{NoFreelistSync: true, FreelistType: bbolt.FreelistMapType})
	if err != nil {
		return nil, err
	}
	db.MaxBatchDelay = 0
	return &boltStore{db: db}, db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucket([]byte("q"))
		return err
	})
}

func (s *boltStore) put(id uint64, envelope, body []byte) error {
	return s.db.Batch(func(tx *bbolt.Tx) error {
		q := tx.Bucket([]byte("q"))
		if err := q.Put(key('e', id), envelope); err != nil {
			return err
		}
		return q.Put(key('b', id), body)
	})
}

func (s *boltStore) del(id uint64) error {
	return s.db.Batch(func(tx *bbolt.Tx) error {
		q := tx.Bucket([]byte("q"))
		if err := q.Delete(key('e', id)); err != nil {
			return err
		}
		return q.Delete(key('b', id))
	})
}

// It does not count them; a transaction syncs twice, the data and then the meta page.
func (s *boltStore) syncs() int64 { return 0 }
func (s *boltStore) close() error { return s.db.Close() }

// files: each body is synced by its writer, the directory by whoever comes first.

type fileStore struct {
	dir  *os.File
	n    atomic.Int64
	sync shared
}

func openFiles(dir string) (candidate, error) {
	d, err := os.Open(dir)
	s := &fileStore{dir: d}
	s.sync.init(func() error { s.n.Add(1); return d.Sync() })
	return s, err
}

func (s *fileStore) name(id uint64) string { return filepath.Join(s.dir.Name(), fmt.Sprint(id)) }

func (s *fileStore) put(id uint64, envelope, body []byte) error {
	if err := writeFile(s.name(id), &s.n, envelope, body); err != nil {
		return err
	}
	return s.sync.do()
}

func (s *fileStore) del(id uint64) error {
	if err := os.Remove(s.name(id)); err != nil {
		return err
	}
	return s.sync.do()
}

func (s *fileStore) syncs() int64 { return s.n.Load() }
func (s *fileStore) close() error { return s.dir.Close() }

// log: one file to append to, records with a checksum, 16 MiB segments that are
// removed when they are done with. The least that an own log would cost.

type logStore struct {
	mu   sync.Mutex
	dir  string
	f    *os.File
	size int64
	seg  int
	buf  []byte
	n    atomic.Int64
	sync shared
}

func openLog(dir string) (candidate, error) {
	s := &logStore{dir: dir}
	s.sync.init(func() error {
		s.mu.Lock()
		f, size, buf := s.f, s.size, s.buf
		s.buf = nil
		s.size += int64(len(buf))
		s.mu.Unlock()
		if size > 16<<20 {
			f.Close()
			os.Remove(f.Name())
			if err := s.roll(); err != nil {
				return err
			}
			f = s.f
		}
		if _, err := f.Write(buf); err != nil {
			return err
		}
		s.n.Add(1)
		return unix.Fdatasync(int(f.Fd()))
	})
	return s, s.roll()
}

func (s *logStore) roll() error {
	s.seg++
	f, err := os.Create(filepath.Join(s.dir, fmt.Sprint(s.seg)))
	s.mu.Lock()
	s.f, s.size = f, 0
	s.mu.Unlock()
	return err
}

func (s *logStore) put(id uint64, envelope, body []byte) error {
	sum := crc32.Update(crc32.ChecksumIEEE(envelope), crc32.IEEETable, body)
	s.mu.Lock()
	s.buf = binary.LittleEndian.AppendUint32(s.buf, sum)
	s.buf = binary.LittleEndian.AppendUint64(s.buf, id)
	s.buf = append(append(s.buf, envelope...), body...)
	s.mu.Unlock()
	return s.sync.do()
}

func (s *logStore) del(id uint64) error {
	s.mu.Lock()
	s.buf = binary.LittleEndian.AppendUint64(append(s.buf, 0, 0, 0, 0), id)
	s.mu.Unlock()
	return s.sync.do()
}

func (s *logStore) syncs() int64 { return s.n.Load() }
func (s *logStore) close() error { return s.f.Close() }

// shared runs f so that each caller gets a run that began after its call.
type shared struct {
	f     func() error
	queue chan chan error
}

func (s *shared) init(f func() error) {
	s.f, s.queue = f, make(chan chan error, 1024)
	go func() {
		for first := range s.queue {
			waiting := []chan error{first}
			for more := true; more; {
				select {
				case w := <-s.queue:
					waiting = append(waiting, w)
				default:
					more = false
				}
			}
			err := s.f()
			for _, w := range waiting {
				w <- err
			}
		}
	}()
}

func (s *shared) do() error {
	done := make(chan error, 1)
	s.queue <- done
	return <-done
}

// countFS counts the syncs of files and directories.
type countFS struct {
	vfs.FS
	n atomic.Int64
}

func (c *countFS) wrap(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &countFile{f, c}, nil
}

func (c *countFS) Create(name string, cat vfs.DiskWriteCategory) (vfs.File, error) {
	return c.wrap(c.FS.Create(name, cat))
}

func (c *countFS) OpenDir(name string) (vfs.File, error) { return c.wrap(c.FS.OpenDir(name)) }

func (c *countFS) ReuseForWrite(o, n string, cat vfs.DiskWriteCategory) (vfs.File, error) {
	return c.wrap(c.FS.ReuseForWrite(o, n, cat))
}

type countFile struct {
	vfs.File
	c *countFS
}

func (f *countFile) Sync() error     { f.c.n.Add(1); return f.File.Sync() }
func (f *countFile) SyncData() error { f.c.n.Add(1); return f.File.SyncData() }

type quiet struct{}

func (quiet) Infof(string, ...any)      {}
func (quiet) Errorf(f string, a ...any) { fmt.Fprintf(os.Stderr, f+"\n", a...) }
func (quiet) Fatalf(f string, a ...any) { panic(fmt.Sprintf(f, a...)) }
