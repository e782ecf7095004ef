package gate

import (
	"container/heap"
	"container/list"
)

// crowd holds the strangers of a server: in the order in which they came, and by
// network, so that the network that has most of them is at hand.
type crowd struct {
	all list.List // of *visitor
	byN networksByStrangers
}

// waiting holds the strangers of a network in the order in which they came.
type waiting struct {
	strangers list.List // of *visitor
	index     int       // in networksByStrangers
}

func (w *waiting) len() int { return w.strangers.Len() }

func (c *crowd) len() int { return c.all.Len() }

func (c *crowd) oldest() *visitor { return c.all.Front().Value.(*visitor) }

// oldestOfMost is the oldest stranger of the network that has most of them.
func (c *crowd) oldestOfMost() *visitor { return c.byN[0].strangers.Front().Value.(*visitor) }

func (c *crowd) add(v *visitor) {
	v.inAll, v.inNetwork = c.all.PushBack(v), v.network.strangers.PushBack(v)
	if v.network.len() == 1 {
		heap.Push(&c.byN, v.network)
	} else {
		heap.Fix(&c.byN, v.network.index)
	}
}

func (c *crowd) remove(v *visitor) {
	c.all.Remove(v.inAll)
	v.network.strangers.Remove(v.inNetwork)
	if v.network.len() == 0 {
		heap.Remove(&c.byN, v.network.index)
	} else {
		heap.Fix(&c.byN, v.network.index)
	}
}

// networksByStrangers is a heap: most strangers first, among equals the one whose oldest came first.
type networksByStrangers []*network

func (h networksByStrangers) Len() int { return len(h) }

func (h networksByStrangers) Less(i, j int) bool {
	a, b := h[i], h[j]
	if a.len() != b.len() || a.len() == 0 {
		return a.len() > b.len()
	}
	return a.strangers.Front().Value.(*visitor).since.Before(b.strangers.Front().Value.(*visitor).since)
}

func (h networksByStrangers) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push implements heap.Interface.
func (h *networksByStrangers) Push(n any) {
	n.(*network).index = len(*h)
	*h = append(*h, n.(*network))
}

// Pop implements heap.Interface.
func (h *networksByStrangers) Pop() any {
	last := len(*h) - 1
	n := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return n
}
