package spoolfile

// The journal in a store that is damaged: it is never a reason for a message to be lost or held, and what can be read of
// it is taken over.

// noteJournal tells whether a change is not to be remembered: records are too many, and are written once unless
// an address was taken out of them.
func (c *collection) noteJournal(kind byte, key, value []byte) bool {
	switch key[0] {
	case factPrefix:
		_, is := factAt(key)
		return !is || writtenOnce(kind, key, value)
	case bookPrefix:
		if key[1] == bookFloor && kind == kindSet {
			c.floor = decodeFloor(value)
		}
	}
	return false
}

// writtenOnce tells whether a change is a record of the journal that was not written again.
func writtenOnce(kind byte, key, value []byte) bool {
	_, is := factAt(key)
	return is && kind == kindSet && factsRevision(value) == 0
}

// putJournal takes over records that are whole and not forgotten, and the cursors. The index is made anew.
func (w *rewriter) putJournal(key, value []byte) error {
	if key[0] == bookPrefix {
		if key[1] == bookCursor || key[1] == bookFloor {
			return w.write(key, value)
		}
		return nil
	}
	if seq, is := factAt(key); !is || seq < w.c.floor || !factsWhole(value) {
		return nil
	}
	return w.write(key, value)
}
