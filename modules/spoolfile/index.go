package spoolfile

import (
	"hash/maphash"
	"iter"
)

// index finds entries by their ids. It holds pointers and nothing else: a map would hold each id once more, which is
// 12 MiB of half a million messages.
type index struct {
	seed   maphash.Seed
	shards [256]shard // each grows alone, so that none takes long
	n      int
}

// shard is a table with open addressing: an entry is at the place that its hash says, or behind it without a gap between.
type shard struct {
	slots []*entry // a power of two of them
	n     int
}

func newIndex() index { return index{seed: maphash.MakeSeed()} }

func (x *index) shard(id string) (*shard, uint64) {
	hash := maphash.String(x.seed, id)
	return &x.shards[hash>>56], hash
}

func (x *index) get(id string) *entry {
	sh, hash := x.shard(id)
	if sh.n == 0 {
		return nil
	}
	return sh.slots[sh.find(id, hash)]
}

// find is where an id is, or is to be.
func (sh *shard) find(id string, hash uint64) int {
	mask := len(sh.slots) - 1
	i := int(hash) & mask
	for sh.slots[i] != nil && sh.slots[i].id != id {
		i = (i + 1) & mask
	}
	return i
}

// put adds an entry whose id is not there.
func (x *index) put(e *entry) {
	sh, hash := x.shard(e.id)
	if 5*(sh.n+1) > 4*len(sh.slots) {
		old := sh.slots
		sh.slots = make([]*entry, max(8, 2*len(old)))
		for _, e := range old {
			if e != nil {
				sh.slots[sh.find(e.id, maphash.String(x.seed, e.id))] = e
			}
		}
	}
	sh.slots[sh.find(e.id, hash)] = e
	sh.n++
	x.n++
}

// remove takes an entry away that is there.
func (x *index) remove(e *entry) {
	sh, hash := x.shard(e.id)
	gap := sh.find(e.id, hash)
	sh.slots[gap] = nil
	sh.n--
	x.n--
	if sh.n == 0 {
		sh.slots = nil
		return
	}
	// Those behind the gap move into it, unless they are not to be so far in front.
	mask := len(sh.slots) - 1
	for i := (gap + 1) & mask; sh.slots[i] != nil; i = (i + 1) & mask {
		home := int(maphash.String(x.seed, sh.slots[i].id)) & mask
		if (i-home)&mask >= (i-gap)&mask {
			sh.slots[gap], sh.slots[i] = sh.slots[i], nil
			gap = i
		}
	}
}

func (x *index) all() iter.Seq[*entry] {
	return func(yield func(*entry) bool) {
		for i := range x.shards {
			for _, e := range x.shards[i].slots {
				if e != nil && !yield(e) {
					return
				}
			}
		}
	}
}
