package policyduplicate

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
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
//
// It is only ever appended to, so that a process which merely tries a configuration can
// have it open beside the one that serves. When it is full it becomes the old one, and by then
// the one that was old has nothing more to say.

// old is what the name of the journal before this one ends in.
const old = ".old"

// open is called by everyone who shares the memory. The first time it reads the journals.
func (m *memory) open(p *sharer, now time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sharers = append(m.sharers, p)
	m.agree()
	if m.path == "" || m.journal != nil {
		return nil
	}
	if err := m.read(m.path+old, now); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("duplicate: %w", err)
	}
	m.lines, m.began = 0, time.Time{}
	if err := m.read(m.path, now); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("duplicate: %w", err)
	}
	return m.append()
}

// read takes up what a journal has.
func (m *memory) read(path string, now time.Time) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return readJournal(f, func(s sum, v seen) {
		if v.at.After(now) { // the clock was set back
			v.at = now
		}
		m.count(v.at)
		if before, ok := m.seen[s]; !ok || !before.at.Equal(v.at) {
			m.add(s, v)
		}
		m.drop(now)
	})
}

// append opens the journal to write behind what it has. Its last line may lack its end.
func (m *memory) append() error {
	const flags = os.O_WRONLY | os.O_APPEND | os.O_CREATE
	f, err := os.OpenFile(m.path, flags|os.O_EXCL, 0o600)
	m.made = err == nil
	if errors.Is(err, fs.ErrExist) {
		f, err = os.OpenFile(m.path, flags, 0o600)
	}
	if err != nil {
		return fmt.Errorf("duplicate: %w", err)
	}
	info, err := f.Stat()
	m.journal, m.torn = f, err != nil || info.Size() > 0
	return nil
}

// unmake removes a journal that was made to see whether one can be, and to which nobody has written: who merely
// tries a configuration may be another user, whose file the server could not open.
func (m *memory) unmake() {
	ours, err := m.journal.Stat()
	there, err2 := os.Stat(m.path)
	if m.made && err == nil && err2 == nil && os.SameFile(ours, there) && there.Size() == 0 {
		_ = os.Remove(m.path)
	}
}

func (m *memory) count(at time.Time) {
	if m.lines == 0 {
		m.began = at
	}
	m.lines++
}

// write adds a line. A failure costs the memory of a restart and no message.
func (m *memory) write(s sum, v seen) {
	if m.path == "" {
		return
	}
	err := m.rotate(v.at)
	if err == nil {
		text := line(s, v)
		if m.torn {
			text = "\n" + text
		}
		_, err = m.journal.WriteString(text)
		m.torn = err != nil
		m.count(v.at)
	}
	if err != nil {
		m.log.Error("duplicate: what was accepted cannot be written down; if it came again after a restart it would be delivered twice",
			zap.String("file", m.path), zap.Error(err))
	}
}

// rotate begins another journal if what the old one has does not count any more, because this one has
// as much as is remembered, or began before the window.
func (m *memory) rotate(now time.Time) error {
	if m.journal != nil && (m.lines == 0 || m.lines < m.limit && now.Sub(m.began) <= m.window) {
		return nil
	}
	if m.journal != nil {
		err := m.journal.Close()
		m.journal, m.lines = nil, 0
		if err = errors.Join(err, os.Rename(m.path, m.path+old)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			m.log.Error("duplicate: the journal grows, since it cannot be put aside", zap.Error(err))
		}
	}
	return m.append()
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
	if len(fields) != 3 || !isID(fields[2]) {
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

// isID tells whether a client may be told this as a queue id.
func isID(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}
