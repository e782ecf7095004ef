package spoolfile

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"slices"
)

// Pebble's log and manifest are blocks of 32 KiB with chunks in them, each with a checksum of its own. Pebble
// reads up to the first chunk that is damaged; here what follows it is found again. A chunk of a log says
// up to where the log was on stable storage when the chunk was written: what is damaged before that is
// damage, and what is not whole after it was being written when the process or the machine stopped.
const (
	logBlock    = 32 << 10
	chunkHeader = 7                // checksum, length, type: a manifest's
	logHeader   = chunkHeader + 12 // and the log's number, and what was synced
)

// headerLen is how long the header of a type of chunk is. A store's first log does not say what was synced.
func headerLen(kind byte) int { return []int{chunkHeader, chunkHeader + 4, logHeader}[(kind-1)/4] }

type chunkKind byte

const (
	chunkBroken chunkKind = iota
	chunkWhole
	chunkEnd   // the log was closed here
	chunkStale // of the log that the file was before
)

type chunk struct {
	payload []byte
	part    byte // 0 a record, 1 its first part, 2 a middle one, 3 the last
	n       int
	synced  uint64
}

// parseChunk reads the chunk at the beginning of b.
func parseChunk(b []byte, log uint64) (c chunk, kind chunkKind) {
	if len(b) < chunkHeader || b[6] == 0 || b[6] > 12 || (b[6] <= 4) != (log == 0) {
		return c, chunkBroken
	}
	header := headerLen(b[6])
	c.n = header + int(binary.LittleEndian.Uint16(b[4:]))
	if header > len(b) {
		return c, chunkBroken
	}
	if b[6] == 5 && le32(b[7:]) == uint32(log)+1 && le32(b) == 0 && c.n == header {
		return c, chunkEnd
	}
	number := uint32(log)
	if header > chunkHeader {
		number = le32(b[7:])
	}
	if c.n > len(b) || number > uint32(log) || crc32.Checksum(b[6:c.n], castagnoli) != unmask(le32(b)) {
		return c, chunkBroken
	}
	c.payload, c.part = b[header:c.n], (b[6]-1)%4
	if number != uint32(log) {
		return c, chunkStale
	}
	if header == logHeader {
		c.synced = binary.LittleEndian.Uint64(b[11:])
	}
	return c, chunkWhole
}

// mendChunk reads a chunk of a log of which one bit is damaged, or its length. changed: the bit is one of the payload.
func mendChunk(b []byte, log uint64) (c chunk, changed, ok bool) {
	if len(b) < logHeader {
		return c, false, false
	}
	try := func(b []byte) bool {
		var kind chunkKind
		c, kind = parseChunk(b, log)
		return kind == chunkWhole
	}
	header := logHeader
	if b[6] >= 5 && b[6] <= 8 {
		header = headerLen(b[6])
	}
	if n := header + int(binary.LittleEndian.Uint16(b[4:])); n <= len(b) {
		fixed := bytes.Clone(b[:n])
		if changed, ok = mend(fixed[6:], le32(b)); ok {
			putMasked(fixed, crc32.Checksum(fixed[6:], castagnoli))
			if try(fixed) {
				return c, changed, true
			}
		}
	}
	if b[6] < 5 || b[6] > 12 || le32(b[7:]) != uint32(log) {
		return c, false, false
	}
	fixed := bytes.Clone(b)
	for at := 4; at <= 5; at++ { // the length
		for range 255 {
			fixed[at]++
			if try(fixed) {
				return c, false, true
			}
		}
		fixed[at]++
	}
	return c, false, false
}

// gap is a part of a log that is damaged.
type gap struct {
	offset, end int
	broken      int  // where in it the first chunk is that is not whole
	damage      bool // and no write that was not finished
}

// logRecord is a whole record of a log.
type logRecord struct {
	offset, end int
	octets      []byte
	mended      bool // a bit was damaged, and was put right
	changed     bool // it is one of the octets
}

// scanLog finds what is whole in a log or manifest (log 0), and what is damaged. closed: it is known to have been
// closed, so that there is nothing in it that was being written.
func scanLog(b []byte, log uint64, closed bool) (records []logRecord, gaps []gap) {
	s := logScanner{b: b, log: log, bad: -1}
	s.scan()
	if !s.ended && !closed {
		// What comes behind the first record that was not on stable storage is of no concern.
		for i, g := range s.gaps {
			if !g.damage && uint64(g.broken) >= s.synced {
				return slices.DeleteFunc(s.records, func(r logRecord) bool { return r.offset > g.offset }), s.gaps[:i]
			}
		}
	}
	switch {
	case s.bad >= 0 && (s.ended || closed || s.written(len(b))):
		s.gaps = append(s.gaps, gap{s.bad, s.at, s.broken, true})
	case s.bad < 0 && closed && !s.ended && log != 0: // cut off between two records
		s.gaps = append(s.gaps, gap{s.at, s.at, s.at, true})
	}
	return s.records, s.gaps
}

type logScanner struct {
	b       []byte
	log     uint64
	at      int
	records []logRecord
	gaps    []gap
	bad     int // where what cannot be read begins; -1: all can
	broken  int // and where what makes it so is
	open    *logRecord
	synced  uint64
	ended   bool
	stale   int // place of the first whole chunk of an earlier log in what cannot be read; 0: none
}

// spoil marks the record that is being read, or what is here, as damaged.
func (s *logScanner) spoil() {
	at := s.at
	if s.open != nil {
		at, s.open = s.open.offset, nil
	}
	if s.bad < 0 {
		s.bad, s.broken, s.stale = at, s.at, 0
	}
}

func (s *logScanner) scan() {
	for s.at < len(s.b) && !s.ended {
		end := min(len(s.b), s.at-s.at%logBlock+logBlock)
		rest := s.b[s.at:end]
		c, kind := parseChunk(rest, s.log)
		mended, changed := false, false
		if kind == chunkBroken && s.log != 0 && len(bytes.Trim(rest, "\x00")) > 0 {
			if c, changed, mended = mendChunk(rest, s.log); mended {
				kind = chunkWhole
			}
		}
		switch {
		case kind == chunkEnd:
			if s.open != nil {
				s.spoil()
			}
			s.ended = true
		case kind == chunkWhole:
			s.take(&c, mended, changed)
		case len(rest) < logHeader && len(bytes.Trim(rest, "\x00")) == 0:
			s.at = end // the end of a block
		default:
			s.spoil()
			if kind == chunkStale && s.stale == 0 {
				s.stale = s.at
			}
			s.skip(end)
		}
	}
	if s.open != nil {
		s.spoil()
	}
}

// skip goes to the next chunk of this log in the block.
func (s *logScanner) skip(end int) {
	for s.at++; s.at < end; s.at++ {
		if s.b[min(s.at+6, end-1)] == 0 {
			continue
		}
		switch _, kind := parseChunk(s.b[s.at:end], s.log); kind {
		case chunkWhole, chunkEnd:
			return
		case chunkStale:
			if s.stale == 0 {
				s.stale = s.at
			}
		}
	}
}

func (s *logScanner) take(c *chunk, mended, changed bool) {
	s.synced = max(s.synced, c.synced)
	switch {
	case c.part == 0 || c.part == 1:
		if s.open != nil {
			s.spoil()
		}
		if s.bad >= 0 {
			s.gaps = append(s.gaps, gap{s.bad, s.at, s.broken, s.written(s.at)})
			s.bad = -1
		}
		s.open = &logRecord{offset: s.at, octets: bytes.Clone(c.payload)}
	case s.open == nil:
		s.spoil()
	default:
		s.open.octets = append(s.open.octets, c.payload...)
	}
	s.at += c.n
	if s.open != nil {
		s.open.mended = s.open.mended || mended
		s.open.changed = s.open.changed || changed
		if c.part == 0 || c.part == 3 {
			s.open.end = s.at
			s.records = append(s.records, *s.open)
			s.open = nil
		}
	}
}

// written tells whether what cannot be read, up to limit, was written whole. A write that was cut short ends at the
// end of the file, or in zeros, or in what the file held when it was an earlier log.
func (s *logScanner) written(limit int) bool {
	if uint64(s.broken) < s.synced {
		return true
	}
	rest := s.b[s.broken:limit]
	octets := len(bytes.TrimRight(rest, "\x00"))
	if octets <= logHeader || len(bytes.Trim(rest[:chunkHeader], "\x00")) == 0 {
		return false
	}
	if s.missesSector(s.broken, s.broken+logHeader) {
		return false
	}
	known := rest[6] >= 1 && rest[6] <= 12 && (s.log == 0) == (rest[6] <= 4) && (s.log == 0 || le32(rest[7:]) == uint32(s.log))
	header := logHeader
	if known {
		header = headerLen(rest[6])
	}
	end := header + int(binary.LittleEndian.Uint16(rest[4:]))
	if !known { // at the end of a log most likely what is in the middle of an earlier log's record
		return s.stale == 0 && (s.log == 0 || limit < len(s.b) || end <= len(rest) && nearly(rest[6:end], le32(rest)))
	}
	switch last := s.broken + end - 1; {
	case end > len(rest) || rest[end-1] == 0 || s.missesSector(s.broken, s.broken+end):
		return false
	case s.stale == 0 && octets <= end: // a new file
		return true
	case s.stale > 0 && s.stale <= last:
		return false
	case limit < len(s.b) || s.broken/sector == last/sector:
		return true
	default:
		// Over an earlier log. Whatever is not in the first sector may be what that had there: its record may have begun before, and end
		// behind. It is not if all but one octet are right.
		return last%sector > 0 && nearly(rest[6:end], le32(rest))
	}
}

// sector is what a disk writes whole or not at all.
const sector = 512

// missesSector tells whether a sector with something of [from, to) was never written: there are zeros from there to its end.
func (s *logScanner) missesSector(from, to int) bool {
	for at := from; at < to; {
		next := at/sector*sector + sector
		if next <= len(s.b) && len(bytes.Trim(s.b[at:next], "\x00")) == 0 {
			return true
		}
		at = next
	}
	return false
}
