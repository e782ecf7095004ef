package spoolfile

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
)

// The index of a block is written when the block is full, in one batch that is not synced: after a crash it is made again.
// It is its postings in their order, each a hash of a name and the record that has it, in pages of 4 KiB, which are
// found by their first posting. What has no index yet is searched by reading it.

// posting is 48 bits of a hash, and the place of a record in its block.
type posting uint64

const (
	postingBits = 16
	postingMask = 1<<postingBits - 1
	indexPage   = 512 // postings
)

// nameTerm is the hash of a name as postings have it. 64-bit FNV-1a.
func nameTerm(name string) posting {
	h := uint64(14695981039346656037)
	for i := range len(name) {
		h = (h ^ uint64(name[i])) * 1099511628211
	}
	return posting(h &^ postingMask)
}

// hopTerm is that of a next hop's queue id, which is not a name as the others are.
func hopTerm(id string) posting { return nameTerm("\x00" + id) }

// queryTerms are what each fact has that the query asks for.
func queryTerms(q *journal.Query) (terms []posting) {
	for _, key := range q.Keys() {
		terms = append(terms, nameTerm(key))
	}
	if q.HopID != "" {
		terms = append(terms, hopTerm(q.HopID))
	}
	return terms
}

// indexer makes the index of a block, and its summary.
type indexer struct {
	summary  summary
	postings []posting
	folded   map[string]posting // of names as they are written
}

func newIndexer(block uint64) *indexer {
	return &indexer{summary: summary{block: block}, folded: make(map[string]posting)}
}

// add takes a record in.
func (x *indexer) add(seq uint64, octets int, facts []journal.Fact) {
	low := posting(seq & blockMask)
	for i := range facts {
		f := &facts[i]
		x.summary.add(nanos(f.Time))
		x.raw(low, f.ID)
		x.raw(low, f.Notification)
		if f.Submission != nil {
			x.raw(low, f.Once)
		}
		x.name(low, f.User)
		x.name(low, f.Sender)
		for _, r := range f.Recipients {
			x.name(low, r)
		}
		if f.Visit != nil && f.HopID != "" {
			x.postings = append(x.postings, hopTerm(f.HopID)|low)
		}
	}
	x.summary.octets += int64(octets) + recordCost
}

func (x *indexer) raw(low posting, id string) {
	if id != "" {
		x.postings = append(x.postings, nameTerm(id)|low)
	}
}

func (x *indexer) name(low posting, name string) {
	if name == "" {
		return
	}
	t, known := x.folded[name]
	if !known {
		t = nameTerm(journal.Fold(name))
		x.folded[name] = t
	}
	x.postings = append(x.postings, t|low)
}

// write adds the index and the summary to a batch, in the place of an earlier one.
func (x *indexer) write(b *pebble.Batch) error {
	slices.Sort(x.postings)
	x.postings = slices.Compact(x.postings)
	block := x.summary.block
	if err := b.DeleteRange(blockKey(block, blockIndex), blockKey(block, blockRecord), nil); err != nil {
		return err
	}
	for page := range slices.Chunk(x.postings, indexPage) {
		op := b.SetDeferred(len(blockKey(block, blockIndex))+8, 8*len(page))
		copy(op.Key, indexKey(block, page[0]))
		for i, p := range page {
			binary.BigEndian.PutUint64(op.Value[8*i:], uint64(p))
		}
		if err := op.Finish(); err != nil {
			return err
		}
	}
	x.summary.octets += int64(8*len(x.postings) + recordCost)
	return b.Set(summaryKey(block), x.summary.encode(), nil)
}

func indexKey(block uint64, p posting) []byte {
	return binary.BigEndian.AppendUint64(blockKey(block, blockIndex), uint64(p))
}

// lookup finds the records of a block that have all terms, by their places in it, in their order.
func lookup(it *pebble.Iterator, block uint64, terms []posting) (found []uint16) {
	for i, t := range terms {
		some := lookupOne(it, block, t)
		if it.Error() != nil {
			return nil
		}
		if i == 0 {
			found = some
		} else {
			found = slices.DeleteFunc(found, func(low uint16) bool {
				_, has := slices.BinarySearch(some, low)
				return !has
			})
		}
		if len(found) == 0 {
			return nil
		}
	}
	return found
}

func lookupOne(it *pebble.Iterator, block uint64, t posting) (found []uint16) {
	last := append(indexKey(block, t|postingMask), 0)
	for ok := it.SeekLT(last); ok; ok = it.Prev() {
		b, kind, rest, known := splitBlockKey(it.Key())
		if !known || b != block || kind != blockIndex || len(rest) != 8 {
			break
		}
		page := it.Value()
		var some []uint16
		for at := searchPage(page, t); at+8 <= len(page); at += 8 {
			p := posting(binary.BigEndian.Uint64(page[at:]))
			if p&^postingMask != t {
				break
			}
			some = append(some, uint16(p&postingMask))
		}
		found = append(some, found...)
		if posting(binary.BigEndian.Uint64(rest)) < t {
			break
		}
	}
	return found
}

// searchPage is where in a page the postings from one on begin.
func searchPage(page []byte, t posting) int {
	lo, hi := 0, len(page)/8
	for lo < hi {
		mid := (lo + hi) / 2
		if posting(binary.BigEndian.Uint64(page[8*mid:])) < t {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return 8 * lo
}

// index makes the index of the next block that is full and has none; false if there is none. The lock is held.
func (b *book) index(eng *engine) (more bool, err error) {
	sh, err := b.load(eng)
	if err != nil {
		return false, err
	}
	full := eng.seq.committed.Load() >> blockBits
	var x *indexer
	err = eng.read(func(db *pebble.DB) error {
		block, err := nextBlock(db, sh)
		if err != nil || block >= full {
			return err
		}
		x = newIndexer(block)
		room := make([]journal.Fact, 0, 4)
		if err := forward(db, block<<blockBits, block<<blockBits|blockMask, func(seq uint64, value []byte) bool {
			x.add(seq, len(value), b.decodeInto(room, seq, value))
			return true
		}); err != nil {
			return err
		}
		batch := db.NewBatch()
		defer batch.Close()
		if err := x.write(batch); err != nil {
			return err
		}
		return db.Apply(batch, pebble.NoSync)
	})
	if err != nil || x == nil {
		return false, eng.met(err)
	}
	next := *sh
	next.blocks = append(slices.Clip(sh.blocks), x.summary)
	next.tail = tally{}
	b.shelf.Store(&next)
	return true, nil
}

// nextBlock is the first block with records that has no index.
func nextBlock(db *pebble.DB, sh *shelf) (block uint64, err error) {
	block = 1<<48 - 1
	err = forward(db, sh.unindexed(), endless.seq-1, func(seq uint64, _ []byte) bool {
		block = seq >> blockBits
		return false
	})
	return block, err
}

// summary is what is known of a block that has an index.
type summary struct {
	block       uint64
	first, last int64 // times of facts
	facts       int64
	octets      int64
}

// recordCost is what a record takes beside its octets.
const recordCost = 24

func (s *summary) add(t int64) {
	if s.facts == 0 || t < s.first {
		s.first = t
	}
	if s.facts == 0 || t > s.last {
		s.last = t
	}
	s.facts++
}

const summaryVersion = 1

func (s *summary) encode() []byte {
	b := []byte{summaryVersion}
	for _, n := range []int64{s.first, s.last, s.facts, s.octets} {
		b = binary.AppendVarint(b, n)
	}
	return b
}

// decodeSummary reads what encode wrote; false for what it does not know: the block's index is made again.
func decodeSummary(key, value []byte) (s summary, ok bool) {
	block, found := bytes.CutPrefix(key, bookKey(bookSummary, ""))
	if !found || len(block) != 6 || len(value) == 0 || value[0] != summaryVersion {
		return s, false
	}
	s.block = binary.BigEndian.Uint64(append([]byte{0, 0}, block...))
	value = value[1:]
	for _, n := range []*int64{&s.first, &s.last, &s.facts, &s.octets} {
		v, k := binary.Varint(value)
		if k <= 0 {
			return s, false
		}
		*n, value = v, value[k:]
	}
	return s, true
}
