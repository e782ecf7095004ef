package policycontent

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"slices"
)

// Sizes and marks of zip's structures (APPNOTE.TXT sections 4.3.7, 4.3.12, 4.3.14 to 4.3.16).
const (
	zipLocal        = 30
	zipCentral      = 46
	zipEnd          = 22
	zipLocator64    = 20
	zipEnd64        = 56
	zipDescriptor   = 24 // may follow an entry's data, at most
	zipLocalMark    = 0x04034b50
	zipCentralMark  = 0x02014b50
	zipEndMark      = 0x06054b50
	zipLocatorMark  = 0x07064b50
	zipEnd64Mark    = 0x06064b50
	zipExtra64      = 0x0001
	zipExtraUnicode = 0x7075 // Info-ZIP's Unicode path
	zipFlagLater    = 1 << 3 // sizes are behind the data
	zipFlagUTF8     = 1 << 11
)

var le = binary.LittleEndian

// zipEntry is what an entry of the directory says of its place.
type zipEntry struct{ start, compressed int64 }

// listZip lists a zip archive. The library's reader is not used: it keeps all entries in memory, as
// many as there are, and believes the directory alone. Other readers believe the header before
// each file, so the archive must say the same in both places, and have nothing in between.
func listZip(r io.ReaderAt, size int64, admit func(string) error) error {
	err := readZip(r, size, admit)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return cannotList("it cannot be read as zip")
	}
	return err
}

func readZip(r io.ReaderAt, size int64, admit func(string) error) error {
	start, length, count, err := zipDirectory(r, size)
	if err != nil {
		return err
	}
	if count > maxEntries {
		return cannotList("it has more than %d entries", maxEntries)
	}
	var (
		entries []zipEntry
		total   int64
		br      = bufio.NewReader(io.NewSectionReader(r, start, length))
		local   = make([]byte, zipLocal)
	)
	for range count {
		h := make([]byte, zipCentral)
		if _, err := io.ReadFull(br, h); err != nil {
			return err
		}
		nameLen, extraLen, commentLen := int(le.Uint16(h[28:])), int(le.Uint16(h[30:])), int(le.Uint16(h[32:]))
		text := make([]byte, nameLen+extraLen)
		if _, err := io.ReadFull(br, text); err != nil {
			return err
		}
		if _, err := br.Discard(commentLen); err != nil {
			return err
		}
		if le.Uint32(h) != zipCentralMark {
			return cannotList("its directory is broken")
		}
		name, extra := text[:nameLen], text[nameLen:]
		uncompressed, compressed, at, err := zipSizes(h, extra)
		if err != nil {
			return err
		}
		if total += uncompressed; total > maxRatio*size+1<<20 {
			return cannotList("it says that it holds %d times its size", total/size)
		}
		names := zipNames(name, extra, le.Uint16(h[8:]))
		for _, n := range names {
			if err := admit(n); err != nil {
				return err
			}
		}
		if at > start-zipLocal {
			return cannotList("its directory is broken")
		}
		localName, localExtra, err := zipLocalText(r, local, at)
		if err != nil {
			return err
		}
		if le.Uint32(local) != zipLocalMark || !bytes.Equal(localName, name) || !zipEndsThere(local, localExtra, compressed) {
			return cannotList("its directory does not say what is there")
		}
		for _, n := range zipOtherNames(localExtra) {
			if slices.Contains(names, n) {
				continue
			}
			if err := admit(n); err != nil {
				return err
			}
		}
		head := zipLocal + int64(len(localName)) + int64(len(localExtra))
		entries = append(entries, zipEntry{start: at, compressed: head + compressed})
	}
	if _, err := br.Peek(1); err == nil {
		return cannotList("its directory has more than it says")
	}
	return zipGapless(entries, start)
}

// zipGapless wants one entry after the other, from the start to the directory.
func zipGapless(entries []zipEntry, directory int64) error {
	slices.SortFunc(entries, func(a, b zipEntry) int { return int(min(max(a.start-b.start, -1), 1)) })
	end := int64(0)
	for i, e := range append(entries, zipEntry{start: directory}) {
		slack := int64(zipDescriptor)
		if i == 0 {
			slack = 0
		}
		if e.start < end || e.start > end+slack {
			return cannotList("its directory does not say what is there")
		}
		end = e.start + e.compressed
	}
	return nil
}

// zipEndRecord finds the record that ends the archive, and with it the part. A file that is stored in the
// archive may be a zip with such a record too, which does not end there. Where two do, or one is in
// the comment of the other, readers differ in which they take. Octets that fill the part up behind it change nothing.
func zipEndRecord(tail []byte) (end []byte, at int, err error) {
	filled := len(tail) - len(bytes.TrimRight(tail, "\x00\r\n")) // it may end in such octets itself, or be filled up with them
	mark := le.AppendUint32(nil, zipEndMark)
	ends, marks := 0, 0
	for i := 0; ; i++ {
		n := bytes.Index(tail[i:], mark)
		if n < 0 {
			break
		}
		i += n
		marks++
		if len(tail)-i < zipEnd {
			continue
		}
		if behind := len(tail) - i - zipEnd - int(le.Uint16(tail[i+20:])); behind >= 0 && behind <= filled {
			end, at = tail[i:len(tail)-behind], i
			ends++
		}
	}
	switch {
	case marks == 0:
		return nil, 0, cannotList("it has no directory")
	case ends != 1 || bytes.Contains(end[1:], mark):
		return nil, 0, cannotList("it has several directories, or something behind the last")
	}
	return end, at, nil
}

// zipDirectory finds the central directory.
func zipDirectory(r io.ReaderAt, size int64) (start, length, count int64, err error) {
	tail := make([]byte, min(size, zipEnd+0xFFFF))
	if _, err := r.ReadAt(tail, size-int64(len(tail))); err != nil && !errors.Is(err, io.EOF) {
		return 0, 0, 0, err
	}
	end, at, err := zipEndRecord(tail)
	if err != nil {
		return 0, 0, 0, err
	}
	if le.Uint16(end[4:]) != 0 && le.Uint16(end[4:]) != 0xFFFF {
		return 0, 0, 0, cannotList("it is in several files")
	}
	endAt := size - int64(len(tail)-at)
	count, length, start = int64(le.Uint16(end[10:])), int64(le.Uint32(end[12:])), int64(le.Uint32(end[16:]))
	locator := make([]byte, zipLocator64)
	if endAt >= zipLocator64 {
		if _, err := r.ReadAt(locator, endAt-zipLocator64); err != nil {
			return 0, 0, 0, err
		}
	}
	if le.Uint32(locator) == zipLocatorMark {
		at := le.Uint64(locator[8:])
		end64 := make([]byte, zipEnd64)
		if at > uint64(size) {
			return 0, 0, 0, cannotList("its directory is broken")
		}
		if _, err := r.ReadAt(end64, int64(at)); err != nil {
			return 0, 0, 0, err
		}
		if le.Uint32(end64) != zipEnd64Mark {
			return 0, 0, 0, cannotList("its directory is broken")
		}
		small := []int64{count, length, start}
		count, length, start = clamp(le.Uint64(end64[32:])), clamp(le.Uint64(end64[40:])), clamp(le.Uint64(end64[48:]))
		if int64(at)+zipEnd64 != endAt-zipLocator64 || !zipAgrees(small, []int64{count, length, start}) {
			return 0, 0, 0, cannotList("it has several directories, or something behind the last")
		}
		endAt = int64(at)
	}
	if start+length != endAt {
		return 0, 0, 0, cannotList("its directory is broken")
	}
	return start, length, count, nil
}

// zipAgrees tells whether both ends of the directory say the same. Readers differ in which they believe, unless the small one
// leaves it to the other.
func zipAgrees(small, big []int64) bool {
	const count16, rest32 = 0xFFFF, 0xFFFFFFFF
	return (small[0] == count16 || small[0] == big[0]) && (small[1] == rest32 || small[1] == big[1]) && (small[2] == rest32 || small[2] == big[2])
}

// clamp keeps sums of sizes within an int64.
func clamp(n uint64) int64 { return int64(min(n, 1<<60)) }
