package spoolfile

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	// freshOctets bounds the memory of octets that are kept.
	freshOctets = 2 << 20
	// freshTime is from when on a message that has not been delivered makes room for others. Until then it stays: it is
	// its turn before theirs.
	freshTime = time.Second
)

// fresh are the octets of small messages that were committed last. Most are delivered at once, and need not be read from
// the store then.
type fresh struct {
	buffers *buffers

	mu     sync.Mutex
	m      map[*entry]*freshBody
	first  *freshBody // in the order in which they came
	last   *freshBody
	octets int
}

// freshBody is a message in two pieces: the prepended header, and what was a draft's buffer.
type freshBody struct {
	head, buf []byte
	class     int           // of buf's size
	readers   *atomic.Int32 // open on buf, which is not used for anything else then

	e     *entry
	since time.Time
	prev  *freshBody
	next  *freshBody
}

// size is what it takes of the memory.
func (b *freshBody) size() int { return len(b.head) + cap(b.buf) }

// put keeps a message's octets, or gives the buffer to the next draft if there is no room.
func (k *fresh) put(e *entry, b *freshBody, now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for k.first != nil && k.octets+b.size() > freshOctets && now.Sub(k.first.since) >= freshTime {
		k.drop(k.first)
	}
	if k.octets+b.size() > freshOctets {
		k.buffers.put(b.class, b.buf, b.readers)
		return
	}
	if k.m == nil {
		k.m = make(map[*entry]*freshBody)
	}
	b.e, b.since, b.prev = e, now, k.last
	if k.last == nil {
		k.first = b
	} else {
		k.last.next = b
	}
	k.last = b
	k.m[e] = b
	k.octets += b.size()
}

// open reads a message whose octets are kept; nil if they are not.
func (k *fresh) open(e *entry) *message {
	k.mu.Lock()
	defer k.mu.Unlock()
	b := k.m[e]
	if b == nil {
		return nil
	}
	b.readers.Add(1)
	return &message{head: b.head, tail: b.buf, readers: b.readers}
}

// forget ends that the octets of a message are kept.
func (k *fresh) forget(e *entry) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if b := k.m[e]; b != nil {
		k.drop(b)
	}
}

func (k *fresh) drop(b *freshBody) {
	if b.prev == nil {
		k.first = b.next
	} else {
		b.prev.next = b.next
	}
	if b.next == nil {
		k.last = b.prev
	} else {
		b.next.prev = b.prev
	}
	delete(k.m, b.e)
	k.octets -= b.size()
	k.buffers.put(b.class, b.buf, b.readers)
}
