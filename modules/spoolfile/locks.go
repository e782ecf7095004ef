package spoolfile

import (
	"hash/maphash"
	"sync"
)

// locks are those of entries, of which some share one: one in each would take more memory than all that are held at once. Who
// holds one asks for no other.
type locks [1024]entryLock

// entryLock is held by who changes an entry. Outcomes of its jobs wait beside it: who has the lock stores them all.
type entryLock struct {
	sync.Mutex

	mu      sync.Mutex
	waiting []*recording
}

var lockSeed = maphash.MakeSeed()

func (l *locks) of(id string) *entryLock {
	return &l[maphash.String(lockSeed, id)%uint64(len(l))]
}

// join has an outcome be stored by whoever has the lock next.
func (l *entryLock) join(x *recording) {
	l.mu.Lock()
	l.waiting = append(l.waiting, x)
	l.mu.Unlock()
}

// take returns an outcome that nobody has stored yet, and others of its entry that are stored with it.
func (l *entryLock) take(x *recording) []*recording {
	l.mu.Lock()
	defer l.mu.Unlock()
	group, rest := []*recording{x}, l.waiting[:0]
	for _, other := range l.waiting {
		switch {
		case other == x:
		case other.l.j.e == x.l.j.e && len(group) < mostTogether:
			group = append(group, other)
		default:
			rest = append(rest, other)
		}
	}
	clear(l.waiting[len(rest):])
	l.waiting = rest
	return group
}
