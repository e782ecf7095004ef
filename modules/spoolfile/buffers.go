package spoolfile

import (
	"sync"
	"sync/atomic"
)

// buffers are the buffers of drafts, which grow in few steps up to the threshold:
// a small message must not take the memory of a large one.
type buffers struct {
	sizes [3]int
	pools [3]sync.Pool
}

func (b *buffers) init(threshold int) {
	b.sizes = [3]int{min(8<<10, threshold), min(32<<10, threshold), threshold}
}

func (b *buffers) get(class int) []byte {
	if p, ok := b.pools[class].Get().(*[]byte); ok {
		return (*p)[:0]
	}
	return make([]byte, 0, b.sizes[class])
}

// put gives a buffer that nobody reads to the next draft.
func (b *buffers) put(class int, buf []byte, readers *atomic.Int32) {
	if readers.Load() == 0 {
		b.pools[class].Put(&buf)
	}
}
