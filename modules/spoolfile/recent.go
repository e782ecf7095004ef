package spoolfile

import (
	"sync"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// recentOctets is how much of envelope records is known at most, and one.
const recentOctets = 2 << 20

// recent are the envelopes that were committed, or leased, last: who delivers a message needs its envelope twice, and as
// often for each of its jobs. They are written once, so that what is known stays true.
type recent struct {
	mu     sync.Mutex
	m      map[*entry]*recentEnvelope
	first  *recentEnvelope // the next to be forgotten
	last   *recentEnvelope
	octets int
}

type recentEnvelope struct {
	e     *entry
	env   *envelope
	entry *queue.Entry
	prev  *recentEnvelope // in the order of their use
	next  *recentEnvelope
}

// get returns what is known of an entry, nil if it is nothing.
func (k *recent) get(e *entry) *recentEnvelope {
	k.mu.Lock()
	defer k.mu.Unlock()
	v := k.m[e]
	if v != nil && v != k.last {
		k.unlink(v)
		k.link(v)
	}
	return v
}

// put notes an envelope.
func (k *recent) put(e *entry, env *envelope, q *queue.Entry) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.m[e] != nil {
		return
	}
	if k.m == nil {
		k.m = make(map[*entry]*recentEnvelope)
	}
	v := &recentEnvelope{e: e, env: env, entry: q}
	k.m[e] = v
	k.link(v)
	for k.octets > recentOctets && k.first != k.last {
		k.drop(k.first)
	}
}

// forget ends what is known of an entry.
func (k *recent) forget(e *entry) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if v := k.m[e]; v != nil {
		k.drop(v)
	}
}

func (k *recent) drop(v *recentEnvelope) {
	k.unlink(v)
	delete(k.m, v.e)
}

func (k *recent) link(v *recentEnvelope) {
	v.prev, v.next = k.last, nil
	if k.last == nil {
		k.first = v
	} else {
		k.last.next = v
	}
	k.last = v
	k.octets += v.env.octets
}

func (k *recent) unlink(v *recentEnvelope) {
	if v.prev == nil {
		k.first = v.next
	} else {
		v.prev.next = v.next
	}
	if v.next == nil {
		k.last = v.prev
	} else {
		v.next.prev = v.prev
	}
	k.octets -= v.env.octets
}
