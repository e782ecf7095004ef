package spoolfile

import (
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/caddy-msa/caddy-msa/caddymsa/durable"
)

// disk is a file system in memory that logs everything that changes it, so that
// the states in which a power loss can leave it can be made again.
type disk struct {
	vfs.FS
	mu    sync.Mutex
	log   []event
	names map[string]int // path to inode; directories too
	last  int
	said  func() // called after a mark; nil: not
}

type kind int

const (
	makeDir kind = iota
	makeFile
	write
	syncFile
	syncDirectory
	remove
	rename
	mark // says something about the messages, see power_test.go
)

type event struct {
	kind     kind
	path, to string
	inode    int
	off      int64
	data     []byte
	mark     func(*promises)
}

func newDisk() *disk {
	return &disk{FS: vfs.NewMem(), names: map[string]int{"/": 0}}
}

func (d *disk) add(e event) { d.log = append(d.log, e) }

// mark logs something that is known by now.
func (d *disk) mark(f func(*promises)) {
	d.mu.Lock()
	d.add(event{kind: mark, mark: f})
	d.mu.Unlock()
	if d.said != nil {
		d.said()
	}
}

func (d *disk) inode(name string) int {
	d.last++
	d.names[name] = d.last
	return d.last
}

func (d *disk) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f, err := d.FS.Create(name, c)
	if err != nil {
		return nil, err
	}
	n := d.inode(name)
	d.add(event{kind: makeFile, path: name, inode: n})
	return &diskFile{File: f, d: d, inode: n}, nil
}

func (d *disk) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f, err := d.FS.OpenReadWrite(name, c, o...)
	if err != nil {
		return nil, err
	}
	n, ok := d.names[name]
	if !ok {
		n = d.inode(name)
		d.add(event{kind: makeFile, path: name, inode: n})
	}
	return &diskFile{File: f, d: d, inode: n}, nil
}

func (d *disk) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := d.Rename(from, to); err != nil {
		return nil, err
	}
	return d.OpenReadWrite(to, c)
}

func (d *disk) OpenDir(name string) (vfs.File, error) {
	f, err := d.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &diskFile{File: f, d: d, dir: path.Clean(name)}, nil
}

func (d *disk) Link(string, string) error { panic("nobody links") }

func (d *disk) Remove(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.FS.Remove(name); err != nil {
		return err
	}
	delete(d.names, name)
	d.add(event{kind: remove, path: name})
	return nil
}

func (d *disk) RemoveAll(string) error { panic("nobody removes all") }

func (d *disk) Rename(from, to string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.FS.Rename(from, to); err != nil {
		return err
	}
	d.names[to] = d.names[from]
	delete(d.names, from)
	d.add(event{kind: rename, path: from, to: to})
	return nil
}

func (d *disk) MkdirAll(dir string, perm os.FileMode) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.FS.MkdirAll(dir, perm); err != nil {
		return err
	}
	var missing []string
	for p := path.Clean(dir); ; p = path.Dir(p) {
		if _, ok := d.names[p]; ok {
			break
		}
		missing = append(missing, p)
	}
	for _, p := range slices.Backward(missing) {
		d.add(event{kind: makeDir, path: p, inode: d.inode(p)})
	}
	return nil
}

func (d *disk) Lock(string) (io.Closer, error) { return nopCloser{}, nil }

func (d *disk) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: 1 << 40}, nil
}

type diskFile struct {
	vfs.File
	d     *disk
	inode int
	dir   string
	off   int64
}

func (f *diskFile) Write(p []byte) (int, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	data := slices.Clone(p) // MemFS scribbles over p, as a File may
	n, err := f.File.Write(p)
	f.d.add(event{kind: write, inode: f.inode, off: f.off, data: data[:n]})
	f.off += int64(n)
	return n, err
}

func (f *diskFile) WriteAt(p []byte, off int64) (int, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	data := slices.Clone(p)
	n, err := f.File.WriteAt(p, off)
	f.d.add(event{kind: write, inode: f.inode, off: off, data: data[:n]})
	return n, err
}

func (f *diskFile) Sync() error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if f.dir != "" {
		f.d.add(event{kind: syncDirectory, path: f.dir})
	} else {
		f.d.add(event{kind: syncFile, inode: f.inode})
	}
	return f.File.Sync()
}

func (f *diskFile) SyncData() error { return f.Sync() }

// SyncTo promises nothing, so that it does nothing.
func (f *diskFile) SyncTo(int64) (bool, error) { return false, nil }

func (f *diskFile) Preallocate(int64, int64) error { return nil }

// platter is what is known of the disk after a part of the log.
type platter struct {
	nodes map[int]*node
}

type node struct {
	isDir bool
	// Of a file: what is synced and the writes since.
	synced  []byte
	pending []event
	// Of a directory: what each name stood for since it was last synced, the
	// synced state first. 0 is nothing.
	names map[string][]int
}

func newPlatter() *platter {
	return &platter{nodes: map[int]*node{0: {isDir: true, names: map[string][]int{}}}}
}

// find walks the names as they are now.
func (p *platter) find(name string) *node {
	n := p.nodes[0]
	for _, part := range strings.Split(strings.Trim(path.Clean(name), "/"), "/") {
		if part == "" {
			continue
		}
		states := n.names[part]
		n = p.nodes[states[len(states)-1]]
	}
	return n
}

func (p *platter) set(name string, inode int) {
	dir, base := p.find(path.Dir(name)), path.Base(name)
	if dir.names[base] == nil {
		dir.names[base] = []int{0}
	}
	dir.names[base] = append(dir.names[base], inode)
}

func (p *platter) get(name string) int {
	states := p.find(path.Dir(name)).names[path.Base(name)]
	return states[len(states)-1]
}

func (p *platter) apply(e event) {
	switch e.kind {
	case makeDir:
		p.nodes[e.inode] = &node{isDir: true, names: map[string][]int{}}
		p.set(e.path, e.inode)
	case makeFile:
		p.nodes[e.inode] = &node{}
		p.set(e.path, e.inode)
	case write:
		n := p.nodes[e.inode]
		n.pending = append(n.pending, e)
	case syncFile:
		n := p.nodes[e.inode]
		for _, w := range n.pending {
			n.synced = overwrite(n.synced, w.off, w.data)
		}
		n.pending = nil
	case syncDirectory:
		n := p.find(e.path)
		for name, states := range n.names {
			if now := states[len(states)-1]; now == 0 {
				delete(n.names, name)
			} else {
				n.names[name] = []int{now}
			}
		}
	case remove:
		p.set(e.path, 0)
	case rename:
		inode := p.get(e.path)
		p.set(e.path, 0)
		p.set(e.to, inode)
	}
}

func overwrite(b []byte, off int64, data []byte) []byte {
	if end := int(off) + len(data); end > len(b) {
		b = append(b, make([]byte, end-len(b))...)
	}
	copy(b[off:], data)
	return b
}

// fate is what became of what was not synced.
type fate int

const (
	dropped fate = iota // nothing of it is there
	kept                // everything is there
	torn                // some sectors, some names
	cut                 // names and writes up to some point, the last write in part
)

var fates = map[fate]string{dropped: "dropped", kept: "kept", torn: "torn", cut: "cut"}

// restart makes the disk that is found after a power loss.
func (p *platter) restart(what fate, rnd *rand.Rand) vfs.FS {
	fs := vfs.NewMem()
	p.restore(fs, "/", p.nodes[0], what, rnd)
	return &freeDisk{fs}
}

func (p *platter) restore(fs vfs.FS, dir string, n *node, what fate, rnd *rand.Rand) {
	for _, name := range slices.Sorted(maps.Keys(n.names)) { // the same each time
		states := n.names[name]
		var inode int
		switch what {
		case dropped:
			inode = states[0]
		case kept:
			inode = states[len(states)-1]
		default:
			inode = states[rnd.IntN(len(states))]
		}
		if inode == 0 {
			continue
		}
		child, at := p.nodes[inode], path.Join(dir, name)
		if child.isDir {
			must(fs.MkdirAll(at, 0o700))
			p.restore(fs, at, child, what, rnd) // syncs it
			continue
		}
		f, err := fs.Create(at, vfs.WriteCategoryUnspecified)
		must(err)
		_, err = f.Write(child.content(what, rnd))
		must(err)
		must(f.Sync())
		must(f.Close())
	}
	must(durable.SyncDir(fs.OpenDir, dir))
}

func (n *node) content(what fate, rnd *rand.Rand) []byte {
	b := slices.Clone(n.synced)
	pending := n.pending
	switch what {
	case dropped:
		return b
	case cut:
		if len(pending) == 0 {
			return b
		}
		k := rnd.IntN(len(pending))
		last := pending[k]
		last.data = last.data[:rnd.IntN(len(last.data)+1)]
		pending = append(slices.Clone(pending[:k]), last)
	}
	for _, w := range pending {
		if what != torn {
			b = overwrite(b, w.off, w.data)
			continue
		}
		for off, data := w.off, w.data; len(data) > 0; {
			k := min(len(data), sector-int(off%sector))
			if rnd.IntN(2) == 0 {
				b = overwrite(b, off, data[:k])
			}
			off, data = off+int64(k), data[k:]
		}
	}
	return b
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// freeDisk is a disk with room.
type freeDisk struct{ vfs.FS }

func (freeDisk) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: 1 << 40}, nil
}
