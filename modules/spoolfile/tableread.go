package spoolfile

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/sstable/block"
	"github.com/cockroachdb/pebble/v2/sstable/colblk"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// lostKeys is a part of a table that cannot be read: all keys between two, which are not in it.
type lostKeys struct{ after, before []byte } // before nil: to the end

func (l lostKeys) contains(key []byte) bool {
	return bytes.Compare(key, l.after) > 0 && (l.before == nil || bytes.Compare(key, l.before) < 0)
}

// overlaps tells whether a key between two may be lost.
func (l lostKeys) overlaps(from, to []byte) bool {
	return bytes.Compare(l.after, to) < 0 && (l.before == nil || bytes.Compare(l.before, from) > 0)
}

// changeFunc is called for each change that a table or log has.
type changeFunc func(seq uint64, kind byte, key, value []byte)

// tableRead is what became of reading a table.
type tableRead struct {
	lost []lostKeys
	raws []raw // the damaged octets
	err  error // why something is lost
}

// readTable calls f for what can be read of a table, block by block. An error is one of the machine's.
func readTable(fs vfs.FS, name string, f changeFunc) (read tableRead, err error) {
	b, err := readFile(fs, name)
	if environment(err) {
		return read, err
	}
	if len(b) == 0 {
		if err == nil {
			err = io.ErrUnexpectedEOF
		}
		return tableRead{lost: []lostKeys{{}}, err: err}, nil
	}
	blocks, end, failed := tableBlocks(b)
	if failed != nil {
		read.err = failed
		read.findBlocks(b, f)
		return read, nil
	}
	var last []byte // the last key that was read; what is lost begins behind it
	losing := false
	for _, h := range blocks {
		octets, changed, ok := h.octets(b)
		if ok {
			each := f
			if changed {
				each = unproven(f)
				read.raws = append(read.raws, raw{octets: b[h.offset : h.offset+h.length]}, raw{octets: octets, mended: true})
			}
			first, to, failed := readBlock(octets, each)
			if ok = failed == nil; ok {
				if losing {
					read.lost[len(read.lost)-1].before = first
				}
				losing, last = false, to
			}
		}
		if !ok {
			read.raws = append(read.raws, raw{octets: octets})
			read.err = fmt.Errorf("the block at octet %d is damaged", h.offset)
			if !losing {
				read.lost = append(read.lost, lostKeys{after: last, before: end})
			}
			losing = true
		}
	}
	return read, nil
}

// tableBlock says where a block of a table is.
type tableBlock struct{ offset, length uint64 }

// blockTrailer is what follows a block: its type, and the checksum of both.
const blockTrailer = 5

// octets returns a block, and whether it is what was written. One bit that is damaged is put right: changed.
func (h tableBlock) octets(b []byte) (octets []byte, changed, ok bool) {
	if h.offset+h.length+blockTrailer > uint64(len(b)) {
		return b[min(h.offset, uint64(len(b))):], false, false
	}
	block := bytes.Clone(b[h.offset : h.offset+h.length+1])
	if changed, ok = mend(block, le32(b[h.offset+h.length+1:])); !ok || block[h.length] != 0 { // or it is compressed
		return b[h.offset : h.offset+h.length], false, false
	}
	return block[:h.length], changed, true
}

// unproven keeps back what a block of which a bit was put right cannot prove: messages, which are looked for in it by
// their own checksums, and envelopes of which that is wrong.
func unproven(f changeFunc) changeFunc {
	return func(seq uint64, kind byte, key, value []byte) {
		if kind == kindSet && key[0] == bodyPrefix {
			return
		}
		if kind == kindSet && key[0] == envelopePrefix {
			if _, err := decodeEnvelope(value); err != nil {
				return
			}
		}
		f(seq, kind, key, value)
	}
}

// tableBlocks reads from a table's index where its blocks are, and which kinds of keys are behind all that it has.
func tableBlocks(b []byte) (blocks []tableBlock, end []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
	}()
	mem := vfs.NewMem() // may change what it is given to write, and does in builds with -race
	if err := writeFile(mem, "table", bytes.Clone(b)); err != nil {
		return nil, nil, err
	}
	file, err := mem.Open("table")
	if err != nil {
		return nil, nil, err
	}
	src, err := sstable.NewSimpleReadable(file)
	if err != nil {
		return nil, nil, errors.Join(err, file.Close())
	}
	o := &pebble.Options{FormatMajorVersion: pebble.FormatNewest}
	o.EnsureDefaults()
	r, err := sstable.NewReader(context.Background(), src, o.MakeReaderOptions())
	if err != nil {
		return nil, nil, err
	}
	defer r.Close()
	layout, err := r.Layout()
	if err != nil {
		return nil, nil, err
	}
	for _, h := range layout.Data {
		blocks = append(blocks, tableBlock{h.Offset, h.Length})
	}
	slices.SortFunc(blocks, func(a, b tableBlock) int { return cmp.Compare(a.offset, b.offset) })
	return blocks, endOf(r), nil
}

// endOf is the first kind of keys that is behind all of a table's; nil if none is.
func endOf(r *sstable.Reader) []byte {
	for kind := range 0xff {
		if octets, err := r.EstimateDiskUsage([]byte{byte(kind)}, []byte{0xff}, sstable.NoReadEnv); err == nil && octets == 0 {
			return []byte{byte(kind)}
		}
	}
	return nil
}

// findBlocks reads the blocks of a table whose index cannot be read: they follow each other from the beginning, each with
// its checksum behind it. Those of keys come first.
func (read *tableRead) findBlocks(b []byte, f changeFunc) {
	var last []byte
	for from := 0; from < len(b); {
		sum := ^uint32(0)
		at := from
		for ; at+blockTrailer <= len(b); at++ {
			sum = castagnoli[byte(sum)^b[at]] ^ sum>>8
			if ^sum == unmask(le32(b[at+1:])) {
				break
			}
		}
		if at+blockTrailer > len(b) {
			read.lost, read.raws = []lostKeys{{after: last}}, []raw{{octets: b[from:]}}
			return
		}
		_, end, err := readBlock(b[from:at], f)
		if err != nil {
			return // the index begins
		}
		last, from = end, at+blockTrailer
	}
}

var keySchema = colblk.DefaultKeySchema(pebble.DefaultComparer, 16)

// keyBlock tells whether a block says of itself that it has keys, in columns that lie in it.
func keyBlock(b []byte) bool {
	const version, columnHeader, columns = 7, 5, 5 // octets; and columns beside those of the key
	custom := int(keySchema.HeaderSize) + 4
	if len(b) < custom+version {
		return false
	}
	n, rows := int(binary.LittleEndian.Uint16(b[custom+1:])), le32(b[custom+3:])
	if b[custom] != 1 || n != len(keySchema.ColumnTypes)+columns || uint64(rows) > uint64(len(b)) || len(b) < custom+version+n*columnHeader {
		return false
	}
	last := uint32(0)
	for i := range n {
		at := le32(b[custom+version+i*columnHeader+1:])
		if at < last || uint64(at) > uint64(len(b)) {
			return false
		}
		last = at
	}
	return true
}

// readBlock calls f for what is in a block of keys, and returns the first and the last of them.
func readBlock(b []byte, f changeFunc) (first, last []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
	}()
	if !keyBlock(b) {
		return nil, nil, errRecord
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true)) // the decoder trusts what it reads
	var d colblk.DataBlockDecoder
	d.Init(&keySchema, append(make([]byte, 0, len(b)+8), b...)) // aligned
	var it colblk.DataBlockIter
	it.InitOnce(&keySchema, pebble.DefaultComparer, nil)
	if err := it.Init(&d, block.NoTransforms); err != nil {
		return nil, nil, err
	}
	for kv := it.First(); kv != nil; kv = it.Next() {
		value, _, err := kv.Value(nil)
		key := kv.K.UserKey
		if err != nil || len(key) < 2 || !strings.ContainsRune(keyPrefixes, rune(key[0])) {
			return first, last, errRecord
		}
		f(uint64(kv.SeqNum()), byte(kv.Kind()), key, value)
		if first == nil {
			first = bytes.Clone(key)
		}
		last = append(last[:0], key...)
	}
	return first, last, it.Error()
}
