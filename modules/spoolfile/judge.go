package spoolfile

import (
	"bytes"
	"fmt"
	"regexp"
)

// verdict is what is to become of the messages of a damaged store.
type verdict struct {
	// lost are the messages of which something is missing, and why.
	lost map[string]string
	// held are those that are whole, but of which damaged octets say that something was written there:
	// that they were delivered, perhaps.
	held map[string]string
	// done were deleted, although their envelopes are there.
	done map[string]bool
}

// judge says which messages are lost, and which cannot be served as they are. A message that no damaged octets
// name is served, though its deletion may be among what is lost: twice is better than never.
func (c *collection) judge() verdict {
	v := verdict{make(map[string]string), make(map[string]string), make(map[string]bool)}
	ids := make(map[string]head)
	for key, h := range c.heads {
		if key[0] == envelopePrefix && h.set {
			ids[key[1:]] = h
		}
	}
	for key := range c.found {
		if key[0] == envelopePrefix {
			ids[key[1:]] = head{}
		}
	}
	for id, h := range ids {
		if b, ok := c.heads[string(bodyKey(id))]; ok && !b.set && b.seq >= h.seq {
			delete(ids, id) // it was deleted, with its body, where that cannot be read
			v.done[id] = true
			continue
		}
		if !c.has(bodyKey(id)) {
			v.lost[id] = "its octets cannot be read"
		}
	}
	for key, h := range c.heads {
		if key[0] == envelopePrefix || !h.set || ofJournal([]byte(key)) {
			continue
		}
		id := key[1:]
		if key[0] == jobPrefix {
			var err error
			if id, _, err = splitJobKey(id); err != nil {
				continue
			}
		}
		if _, known := c.heads[string(envelopeKey(id))]; !known && !c.has(envelopeKey(id)) && !c.gone(id) {
			v.lost[id] = "its envelope cannot be read"
		}
	}
	for i := range c.parts {
		c.judgePart(&c.parts[i], ids, v)
	}
	for i := range c.tables {
		c.judgeTable(i, ids, v)
	}
	return v
}

// gone tells whether a message's octets were deleted.
func (c *collection) gone(id string) bool {
	h, known := c.heads[string(bodyKey(id))]
	return known && !h.set
}

// judgePart says whom the changes concern that are lost with a part of a log.
func (c *collection) judgePart(p *part, ids map[string]head, v verdict) {
	if p.next != 0 && p.next <= p.first {
		return // nothing is missing
	}
	why := fmt.Sprintf("%s is damaged at octet %d, where something of this message was written: it may have been delivered, or have changed", p.file, p.offset)
	for _, m := range p.mentions {
		h, known := ids[m.id]
		first := m.kind == kindSet && (m.prefix == envelopePrefix || m.prefix == bodyPrefix) // its acceptance
		switch {
		case known:
			if _, gone := v.lost[m.id]; !gone && !first && (p.next == 0 || h.seq < p.next) {
				v.held[m.id] = why
			}
		case c.deleted(m.id):
		case first || m.kind == kindSet:
			if _, said := v.lost[m.id]; !said {
				v.lost[m.id] = fmt.Sprintf("%s is damaged between octets %d and %d, where it is", p.file, p.offset, p.end)
			}
		default: // the name itself may be damaged
			for id := range ids {
				if near(id, m.id) {
					v.held[id] = why
				}
			}
		}
	}
}

// deleted tells whether a message is known to be done with.
func (c *collection) deleted(id string) bool {
	h, known := c.heads[string(envelopeKey(id))]
	return known && !h.set || c.gone(id)
}

// entryBegin is how an envelope's JSON begins.
var entryBegin = regexp.MustCompile(`\{"id":"([^"\\]{1,64})"`)

// judgeTable says whom the lost parts of a table concern.
func (c *collection) judgeTable(i int, ids map[string]head, v verdict) {
	t := &c.tables[i]
	if t.journal {
		return
	}
	for _, r := range t.raws {
		b := r.octets
		named := make(map[string]bool)
		for _, m := range entryBegin.FindAllSubmatch(b, -1) {
			id := string(m[1])
			named[id] = true
			if _, known := ids[id]; !known && !c.deleted(id) && !v.done[id] {
				v.lost[id] = fmt.Sprintf("its envelope, in %s, is damaged", t.name)
			}
		}
		for id, h := range ids {
			if t.largest < h.seq || named[id] || !bytes.Contains(b, []byte(id[max(0, len(id)-6):])) || !t.mayHave(id, int(h.file) == i) {
				continue
			}
			if _, said := v.lost[id]; !said {
				v.held[id] = fmt.Sprintf("a part of %s is damaged, where something of this message was written: it may have been delivered, or have changed", t.name)
			}
		}
	}
}

// mayHave tells whether what is lost of a table may be a change of a message, other than its acceptance.
func (t *tableFile) mayHave(id string, itself bool) bool {
	for _, l := range t.lost {
		if !itself && l.contains(envelopeKey(id)) || l.overlaps(jobKey(id, 0), jobKey(id, 1<<32-1)) || l.contains(statusKey(id)) {
			return true
		}
	}
	return false
}

// near tells whether an id may be another one with an octet or two damaged.
func near(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	other := 0
	for i := range len(a) {
		if a[i] != b[i] {
			other++
		}
	}
	return other <= 2 && other < len(a)/2
}
