package spoolfile

import (
	"fmt"
	"hash/crc32"
	"io"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// message is a header, and a body in the same octets or in a file. The store has checksums of its octets; of a
// file's, the last are only given away when all are what they were.
type message struct {
	*io.SectionReader
	head []byte
	tail []byte   // of a small body that is kept in memory
	file vfs.File // nil for a small body
	name string
	size int64 // of the file

	summed    bool // the file's checksum is known
	sum, want uint32
	read      int64 // of the file, from its beginning: what sum is of
	failed    error
	damaged   func(error) // is told, once; nil: nobody

	readers *atomic.Int32 // of tail; nil once it is closed
}

// ReadAt implements io.ReaderAt for the SectionReader.
func (m *message) ReadAt(p []byte, off int64) (n int, err error) {
	if off < int64(len(m.head)) {
		n = copy(p, m.head[off:])
		if n == len(p) {
			return n, nil
		}
		off += int64(n)
	}
	off -= int64(len(m.head))
	if m.file == nil {
		if off < int64(len(m.tail)) {
			n += copy(p[n:], m.tail[off:])
		}
		return n, shortRead(n, p)
	}
	k, err := m.file.ReadAt(p[n:], off)
	if m.summed {
		if failed := m.check(p[n:n+k], off); failed != nil {
			return n, failed
		}
	}
	return n + k, err
}

// check adds octets of the file to the sum, and compares it with the last.
func (m *message) check(p []byte, off int64) error {
	end := off + int64(len(p))
	if off > m.read && end == m.size { // some were passed over
		if err := m.catchUp(off); err != nil {
			return err
		}
	}
	if off <= m.read && end > m.read {
		m.sum = crc32.Update(m.sum, castagnoli, p[m.read-off:])
		m.read = end
	}
	if m.read == m.size && m.sum != m.want && m.failed == nil {
		m.failed = fmt.Errorf("its body, %s, is damaged: the checksum differs", m.name)
		if m.damaged != nil {
			m.damaged(m.failed)
		}
	}
	if end == m.size {
		return m.failed
	}
	return nil
}

// catchUp adds what lies before a place to the sum.
func (m *message) catchUp(to int64) error {
	sum := crc32.New(castagnoli)
	if _, err := io.Copy(sum, io.NewSectionReader(m.file, 0, to)); err != nil {
		return err
	}
	m.sum, m.read = sum.Sum32(), to
	return nil
}

func shortRead(n int, p []byte) error {
	if n < len(p) {
		return io.EOF
	}
	return nil
}

// Close implements io.Closer.
func (m *message) Close() error {
	if m.readers != nil {
		m.readers.Add(-1)
		m.readers, m.head, m.tail = nil, nil, nil
	}
	if m.file == nil {
		return nil
	}
	return m.file.Close()
}
