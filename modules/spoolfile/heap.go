package spoolfile

// order says how a heap is sorted, and where its items remember their place (from 1 on; 0: they
// are not in it).
type order[T any] interface {
	less(a, b T) bool
	place(T) *int32
}

// heapOf is a heap whose items know their places, so that any of them can leave.
type heapOf[T any, O order[T]] struct{ items []T }

func (h *heapOf[T, O]) set(i int, x T) {
	var o O
	h.items[i] = x
	*o.place(x) = int32(i + 1)
}

func (h *heapOf[T, O]) push(x T) {
	h.items = append(h.items, x)
	h.up(len(h.items)-1, x)
}

func (h *heapOf[T, O]) up(i int, x T) {
	var o O
	for i > 0 {
		parent := (i - 1) / 2
		if !o.less(x, h.items[parent]) {
			break
		}
		h.set(i, h.items[parent])
		i = parent
	}
	h.set(i, x)
}

func (h *heapOf[T, O]) down(i int, x T) {
	var o O
	for {
		child := 2*i + 1
		if child >= len(h.items) {
			break
		}
		if child+1 < len(h.items) && o.less(h.items[child+1], h.items[child]) {
			child++
		}
		if !o.less(h.items[child], x) {
			break
		}
		h.set(i, h.items[child])
		i = child
	}
	h.set(i, x)
}

// fix puts an item right whose order has changed.
func (h *heapOf[T, O]) fix(x T) {
	var o O
	i := int(*o.place(x)) - 1
	if i > 0 && o.less(x, h.items[(i-1)/2]) {
		h.up(i, x)
		return
	}
	h.down(i, x)
}

// order makes a heap of items that may all have changed.
func (h *heapOf[T, O]) order() {
	for i := len(h.items)/2 - 1; i >= 0; i-- {
		h.down(i, h.items[i])
	}
}

// drop takes an item out, if it is in.
func (h *heapOf[T, O]) drop(x T) {
	var o O
	i := int(*o.place(x)) - 1
	if i < 0 {
		return
	}
	*o.place(x) = 0
	last := len(h.items) - 1
	moved := h.items[last]
	var zero T
	h.items[last] = zero
	h.items = h.items[:last]
	if i == last {
		if last == 0 && cap(h.items) > 64 {
			h.items = nil
		}
		return
	}
	h.set(i, moved)
	h.fix(moved)
}
