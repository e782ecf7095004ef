package spoolfile

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

var errDirectory = errors.New("it is a directory")

// collection is what can be read of a store that pebble cannot open, or not all of it.
type collection struct {
	fs     vfs.FS
	dir    string
	tables []tableFile
	logs   []string
	// heads are the newest changes of all keys.
	heads map[string]head
	parts []part
	raws  []raw
	// found are values of which the store's checksum is wrong and our own is right, by key.
	found map[string][]byte
	// floor is the first fact of the journal that is kept.
	floor place
}

type tableFile struct {
	name    string
	largest uint64 // number of its newest change
	journal bool   // it has nothing of messages
	tableRead
}

type head struct {
	seq  uint64
	file int32
	set  bool
}

// part is what cannot be read of a file.
type part struct {
	file        string
	offset, end int // of a log
	why         string
	first, next uint64 // numbers of the changes that are lost; next 0: it is not known
	mentions    []mention
}

func (p *part) String() string {
	if p.end == 0 {
		return p.file + ": " + p.why
	}
	return fmt.Sprintf("%s, octets %d to %d: %s", p.file, p.offset, p.end, p.why)
}

// collect reads the store's files. closed are the names of those that a clean stop left; nil after another. all: the
// manifest does not know all of them.
func collect(fs vfs.FS, dir string, closed []string, all bool) (*collection, error) {
	c := &collection{fs: fs, dir: dir, heads: make(map[string]head), found: make(map[string][]byte)}
	names, err := fs.List(dir)
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	firstLog := c.list(names, closed, all)
	for _, name := range names {
		if n, ok := fileNumber(name, ".log"); ok && n >= firstLog && closed == nil {
			c.logs = append(c.logs, name)
		}
	}
	for i := range c.tables {
		t := &c.tables[i]
		t.tableRead, err = readTable(fs, fs.PathJoin(dir, t.name), func(seq uint64, kind byte, key, value []byte) {
			t.journal = t.journal || ofJournal(key) // no table has both, see apart
			c.note(seq, kind, key, value, i)
		})
		if err != nil {
			return nil, err
		}
		if t.err != nil {
			c.parts = append(c.parts, part{file: t.name, why: t.err.Error()})
		}
		for _, r := range t.raws {
			r.file = t.name
			c.raws = append(c.raws, r)
		}
	}
	if err := c.readLogs(); err != nil {
		return nil, err
	}
	if len(c.logs) == 0 && closed == nil && len(c.tables) > 0 {
		c.parts = append(c.parts, part{file: "the log", why: "it is missing"})
	}
	return c, c.carve()
}

func (c *collection) readLogs() error {
	var next uint64
	for i, name := range c.logs {
		records, gaps, b, err := c.scanLog(i)
		if environment(err) {
			return err
		}
		if err != nil {
			c.parts = append(c.parts, part{file: name, why: err.Error(), first: next})
		}
		begun := len(c.parts)
		number, _ := fileNumber(name, ".log")
		pending := gaps
		for {
			for len(pending) > 0 && (len(records) == 0 || pending[0].offset < records[0].offset) {
				g := pending[0]
				octets := payloads(b[g.offset:g.end], g.offset, number)
				c.raws = append(c.raws, raw{file: name, octets: octets})
				c.parts = append(c.parts, part{file: name, offset: g.offset, end: g.end, why: "the checksum is wrong", first: next, mentions: mentioned(octets)})
				pending = pending[1:]
			}
			if len(records) == 0 {
				break
			}
			first, after, _ := readBatch(records[0].octets, func(seq uint64, kind byte, key, value []byte) { c.note(seq, kind, key, value, len(c.tables)+i) })
			for k := range c.parts[begun:] {
				if p := &c.parts[begun+k]; p.next == 0 {
					p.next = first
				}
			}
			if next != 0 && first > next && begun == len(c.parts) {
				c.parts = append(c.parts, part{file: name, why: fmt.Sprintf("%d changes before it are missing", first-next), first: next, next: first})
			}
			next, begun = after, len(c.parts)
			records = records[1:]
		}
	}
	return nil
}

// scanLog reads one of the logs. A record that was mended and cannot be trusted is damaged. All but the newest log were closed.
func (c *collection) scanLog(i int) (records []logRecord, gaps []gap, b []byte, err error) {
	number, _ := fileNumber(c.logs[i], ".log")
	b, err = readFile(c.fs, c.fs.PathJoin(c.dir, c.logs[i]))
	records, gaps = readLog(b, number, i < len(c.logs)-1)
	return records, gaps, b, err
}

// readLog is what can be trusted in a log.
func readLog(b []byte, number uint64, closed bool) (records []logRecord, gaps []gap) {
	records, gaps = scanLog(b, number, closed)
	records = slices.DeleteFunc(records, func(r logRecord) bool {
		if _, _, ok := readBatch(r.octets, func(uint64, byte, []byte, []byte) {}); ok && r.trusted() {
			return false
		}
		gaps = append(gaps, gap{r.offset, r.end, r.offset, true})
		return true
	})
	slices.SortFunc(gaps, func(a, b gap) int { return a.offset - b.offset })
	return records, gaps
}

// list finds the tables that are in use, and the first log that is. If the manifest is damaged, that is all there are.
func (c *collection) list(names, closed []string, all bool) (firstLog uint64) {
	firstLog, ok := c.listed(names)
	if ok && !all {
		return firstLog
	}
	c.tables = nil
	for _, name := range names {
		if _, ok := fileNumber(name, ".sst"); ok && (closed == nil || slices.Contains(closed, name)) {
			c.tables = append(c.tables, tableFile{name: name, largest: 1<<64 - 1})
		}
	}
	if len(c.tables) > 0 {
		c.parts = append(c.parts, part{file: "the list of tables", why: "it cannot be read; all that are there are taken for being in use"})
	}
	return firstLog
}

// listed reads from the manifest which tables are in use, and the first log that is.
func (c *collection) listed(names []string) (firstLog uint64, ok bool) {
	b, err := readManifest(c.fs, c.dir, names)
	if err != nil {
		return 0, false
	}
	defer func() {
		if recover() != nil {
			firstLog, ok, c.tables = 0, false, nil
		}
	}()
	db, err := pebble.Open(c.dir, &pebble.Options{FS: noLogs{c.fs}, ReadOnly: true, Logger: quiet{}, FormatMajorVersion: pebble.FormatNewest})
	if err != nil {
		return 0, false
	}
	defer db.Close()
	levels, err := db.SSTables()
	if err != nil {
		return 0, false
	}
	for _, level := range levels {
		for _, t := range level {
			name := t.BackingSSTNum.String() + ".sst"
			if !slices.ContainsFunc(c.tables, func(t tableFile) bool { return t.name == name }) {
				c.tables = append(c.tables, tableFile{name: name, largest: uint64(t.LargestSeqNum), journal: ofJournal(t.Largest.UserKey)})
			}
		}
	}
	return readNumbers(b).log, true
}

// readManifest reads the manifest that the marker names, if all of it can be read.
func readManifest(fs vfs.FS, dir string, names []string) ([]byte, error) {
	manifest := ""
	for _, name := range names {
		if i := strings.Index(name, ".MANIFEST-"); i >= 0 && strings.HasPrefix(name, "marker.manifest.") && name[i+1:] > manifest {
			manifest = name[i+1:]
		}
	}
	if manifest == "" {
		return nil, errors.New("the marker of the manifest is missing")
	}
	b, err := readFile(fs, fs.PathJoin(dir, manifest))
	if err == nil && len(b) == 0 {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", manifest, err)
	}
	if _, gaps := scanLog(b, 0, false); len(gaps) > 0 {
		return nil, fmt.Errorf("%s is damaged at octet %d", manifest, gaps[0].broken)
	}
	return b, nil
}

// numbers are what a manifest says of files' numbers.
type numbers struct {
	log  uint64 // the first log whose records are not in the tables yet
	next uint64 // files that were made later have this number, or a higher one
}

func readNumbers(manifest []byte) (n numbers) {
	records, _ := scanLog(manifest, 0, false)
	for i := range records {
		for r, more := (&reader{b: records[i].octets}), true; more && len(r.b) > 0 && !r.bad; {
			switch tag := r.uvarint(); tag {
			case 1: // the comparer
				r.text()
			case 2:
				n.log = max(n.log, r.uvarint())
			case 3:
				n.next = max(n.next, r.uvarint())
			case 9: // the log before
				r.uvarint()
			default:
				more = false
			}
		}
	}
	return n
}

func (c *collection) note(seq uint64, kind byte, key, value []byte, file int) {
	if h, ok := c.heads[string(key)]; len(key) < 2 || ok && h.seq >= seq || c.noteJournal(kind, key, value) {
		return
	}
	c.heads[string(key)] = head{seq, int32(file), kind == kindSet}
}

// each calls f for what is stored of each key, and can be read.
func (c *collection) each(f func(key, value []byte) error) (err error) {
	newest := func(file int) changeFunc {
		return func(seq uint64, kind byte, key, value []byte) {
			if err != nil {
				return
			}
			h, known := c.heads[string(key)]
			if h.set && h.seq == seq && int(h.file) == file || !known && writtenOnce(kind, key, value) {
				err = f(key, value)
			}
		}
	}
	for i := range c.tables {
		if _, failed := readTable(c.fs, c.fs.PathJoin(c.dir, c.tables[i].name), newest(i)); failed != nil {
			return failed
		}
	}
	for i := range c.logs {
		records, _, _, failed := c.scanLog(i)
		if environment(failed) {
			return failed
		}
		for k := range records {
			_, _, _ = readBatch(records[k].octets, newest(len(c.tables)+i))
		}
	}
	return err
}

func (c *collection) has(key []byte) bool {
	_, found := c.found[string(key)]
	return found || c.heads[string(key)].set
}

// carve looks in what is damaged for envelopes and messages that are whole.
func (c *collection) carve() error {
	if len(c.raws) == 0 {
		return nil
	}
	for _, r := range c.raws {
		carve(r.octets, func(id string, value []byte) {
			if _, known := c.heads[string(envelopeKey(id))]; !known {
				c.found[string(envelopeKey(id))] = value
			}
		})
	}
	seek := func(id string, value []byte) {
		if _, known := c.heads[string(bodyKey(id))]; known {
			return
		}
		if v, err := decodeEnvelope(value); err == nil {
			if b := v.carveBody(c.raws); b != nil {
				c.found[string(bodyKey(id))] = b
			}
		}
	}
	for key, value := range c.found {
		if key[0] == envelopePrefix {
			seek(key[1:], value)
		}
	}
	return c.each(func(key, value []byte) error {
		if key[0] == envelopePrefix {
			seek(string(key[1:]), value)
		}
		return nil
	})
}

// noLogs hides the logs, so that the tables can be looked at without them.
type noLogs struct{ vfs.FS }

func (n noLogs) List(dir string) ([]string, error) {
	names, err := n.FS.List(dir)
	return slices.DeleteFunc(names, func(name string) bool { return strings.HasSuffix(name, ".log") }), err
}

type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}

// Fatalf must not return; readers of damaged files recover.
func (quiet) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

// readFile reads as much of a file as can be read; what cannot is zeros.
func readFile(fs vfs.FS, name string) ([]byte, error) {
	f, err := fs.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return nil, errDirectory
	}
	b := make([]byte, info.Size())
	const step = 4096
	for at := 0; at < len(b); at += step {
		if _, e := f.ReadAt(b[at:min(len(b), at+step)], int64(at)); e != nil && e != io.EOF {
			err = e
		}
	}
	return b, err
}

// fileNumber is the number in a log's or table's name.
func fileNumber(name, suffix string) (uint64, bool) {
	digits, ok := strings.CutSuffix(name, suffix)
	n, err := strconv.ParseUint(digits, 10, 64)
	return n, ok && err == nil
}
