package policyduplicate

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"
)

// The journal has a line for each accepted submission:
//
//	<crc32> <seconds since 1970> <sha256> <queue id>
//
// It is written after the message is durable and not synced: a crash of the process loses nothing,
// a power loss perhaps the last seconds. A line that is damaged is passed over.

// slack is how many lines the journal may have beyond those that count before it is written anew.
const slack = 1000

// open reads the journal, the first time, and takes what is not older than since.
func (m *memory) open(since time.Time, limit int) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.path == "" || m.journal != nil {
		return nil
	}
	f, err := os.OpenFile(m.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("duplicate: %w", err)
	}
	err = readJournal(f, func(s sum, v seen) {
		if !v.at.Before(since) {
			m.add(s, v)
			m.drop(limit)
		}
	})
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("duplicate: %s: %w", m.path, err)
	}
	return m.rewrite()
}

// rewrite makes a journal of what is remembered.
func (m *memory) rewrite() error {
	f, err := os.CreateTemp(filepath.Dir(m.path), filepath.Base(m.path)+".*")
	if err != nil {
		return fmt.Errorf("duplicate: %w", err)
	}
	w := bufio.NewWriter(f)
	n := 0
	for _, s := range m.order {
		if v, ok := m.seen[s]; ok {
			_, _ = w.WriteString(line(s, v))
			n++
		}
	}
	if err := errors.Join(w.Flush(), f.Sync(), os.Rename(f.Name(), m.path)); err != nil {
		_ = f.Close()
		_ = os.Remove(f.Name())
		return fmt.Errorf("duplicate: %w", err)
	}
	if m.journal != nil {
		_ = m.journal.Close()
	}
	m.journal, m.lines = f, n
	return nil
}

// write adds a line. A failure costs the memory of a restart and no message.
func (m *memory) write(s sum, v seen) {
	if m.journal == nil {
		return
	}
	var err error
	if m.lines > 2*len(m.seen)+slack {
		err = m.rewrite()
	} else {
		_, err = m.journal.WriteString(line(s, v))
		m.lines++
	}
	if err != nil {
		m.log.Error("duplicate: what was accepted cannot be written down; after a restart it would be delivered twice", zap.Error(err))
	}
}

func line(s sum, v seen) string {
	text := strconv.FormatInt(v.at.Unix(), 10) + " " + hex.EncodeToString(s[:]) + " " + v.id
	return fmt.Sprintf("%08x %s\n", crc32.ChecksumIEEE([]byte(text)), text)
}

// maxJournalLine is longer than any line of ours.
const maxJournalLine = 4096

// readJournal calls f for each line that is whole.
func readJournal(r io.Reader, f func(sum, seen)) error {
	br := bufio.NewReaderSize(r, maxJournalLine)
	skip := false
	for {
		b, err := br.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			skip = true
			continue
		case errors.Is(err, io.EOF): // what has no end was not written to its end
			return nil
		case err != nil:
			return err
		}
		if s, v, ok := parseLine(strings.TrimSuffix(string(b), "\n")); ok && !skip {
			f(s, v)
		}
		skip = false
	}
}

func parseLine(text string) (s sum, v seen, ok bool) {
	crc, rest, _ := strings.Cut(text, " ")
	if crc != fmt.Sprintf("%08x", crc32.ChecksumIEEE([]byte(rest))) {
		return s, v, false
	}
	fields := strings.SplitN(rest, " ", 3)
	if len(fields) != 3 || fields[2] == "" {
		return s, v, false
	}
	seconds, err := strconv.ParseInt(fields[0], 10, 64)
	if err != nil || len(fields[1]) != hex.EncodedLen(len(s)) {
		return s, v, false
	}
	if _, err := hex.Decode(s[:], []byte(fields[1])); err != nil {
		return s, v, false
	}
	return s, seen{fields[2], time.Unix(seconds, 0)}, true
}
