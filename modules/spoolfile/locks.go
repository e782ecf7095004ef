package spoolfile

import (
	"hash/maphash"
	"sync"
)

// locks are those of entries, of which some share one: one in each would take more memory than all that are held at once. Who
// holds one asks for no other.
type locks [1024]sync.Mutex

var lockSeed = maphash.MakeSeed()

func (l *locks) of(id string) *sync.Mutex { return &l[maphash.String(lockSeed, id)%uint64(len(l))] }
