package cmdqueue

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

// logs are the log files that are searched, and what could not be read of them.
type logs struct {
	files    []*logFile
	warnings []string
}

// logFile is a file that can be read more than once.
type logFile struct {
	name string
	file *os.File
}

// openLogs opens log files. Standard input (-) and pipes can be read only once: they are copied into a file that has no name.
func openLogs(names []string, stdin io.Reader) (*logs, error) {
	l := new(logs)
	for _, name := range names {
		f, err := openLog(name, stdin)
		if err != nil {
			l.close()
			return nil, err
		}
		l.files = append(l.files, &logFile{name, f})
	}
	return l, nil
}

func openLog(name string, stdin io.Reader) (*os.File, error) {
	if name == "-" {
		return copyOf(stdin)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	switch {
	case err == nil && info.Mode().IsRegular():
		return f, nil
	case err == nil && info.IsDir():
		err = fmt.Errorf("%s is a directory; name its files", name)
	}
	defer f.Close()
	if err != nil {
		return nil, err
	}
	return copyOf(f)
}

func copyOf(r io.Reader) (*os.File, error) {
	f, err := os.CreateTemp("", "caddy-msa-trace-*")
	if err != nil {
		return nil, err
	}
	_ = os.Remove(f.Name())
	if _, err := io.Copy(f, r); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

func (l *logs) close() {
	for _, f := range l.files {
		_ = f.file.Close()
	}
}

// find finds the lines about a message, those of its session and of its notifications among them.
func (l *logs) find(id string) ([]logLine, error) {
	wanted := map[string]bool{id: true}
	// The session's lines come before its messages', and a notification's after: look until
	// nothing new is named.
	for {
		var lines []logLine
		l.warnings = nil
		known := len(wanted)
		for _, f := range l.files {
			found, err := l.read(f, wanted)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", f.name, err)
			}
			lines = append(lines, found...)
		}
		for _, line := range lines {
			if !line.about(id) {
				continue
			}
			for _, name := range []string{"session", "bounce"} {
				if other, ok := line.fields[name].(string); ok && other != "" {
					wanted[other] = true
				}
			}
		}
		if len(wanted) == known {
			slices.SortStableFunc(lines, func(a, b logLine) int { return cmp.Compare(a.at.UnixNano(), b.at.UnixNano()) })
			return slices.DeleteFunc(lines, func(l logLine) bool { return l.otherMessage(wanted) }), nil
		}
	}
}

// longestLine bounds a line that is looked at.
const longestLine = 1 << 20

// read reads a file from its beginning.
func (l *logs) read(f *logFile, wanted map[string]bool) (lines []logLine, err error) {
	if _, err := f.file.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	r := bufio.NewReaderSize(f.file, longestLine)
	if magic, _ := r.Peek(2); string(magic) == "\x1f\x8b" {
		z, err := gzip.NewReader(r)
		if err != nil {
			l.warnCut(f, err)
			return nil, nil
		}
		r = bufio.NewReaderSize(z, longestLine)
	}
	read, strange, first, long := 0, 0, 0, 0
	for n := 1; ; n++ {
		line, err := r.ReadSlice('\n')
		for ; errors.Is(err, bufio.ErrBufferFull); _, err = r.ReadSlice('\n') {
			line, long = nil, n
		}
		if err != nil && err != io.EOF { // what the others say is told all the same
			l.warnCut(f, err)
			break
		}
		if line = bytes.TrimSpace(line); len(line) > 0 {
			names := mentions(line, wanted)
			if found, ok := parseLine(line); ok {
				read++
				if names && found.concerns(wanted) {
					lines = append(lines, found)
				}
			} else if names {
				if strange++; first == 0 {
					first = n
				}
			}
		}
		if err == io.EOF {
			break
		}
	}
	if strange > 0 {
		l.warn("%s: %d lines that name the message cannot be read; the first is line %d. JSON and console format are known, as Caddy writes them, behind a prefix or not", f.name, strange, first)
	}
	if long > 0 {
		l.warn("%s: line %d is longer than 1 MiB and was skipped", f.name, long)
	}
	if info, err := f.file.Stat(); err == nil && info.Size() > 0 && read == 0 && strange == 0 {
		l.warn("%s: none of its lines is one of Caddy's log", f.name)
	}
	return lines, nil
}

func (l *logs) warn(format string, args ...any) {
	l.warnings = append(l.warnings, fmt.Sprintf(format, args...))
}

// warnCut is of a file that is being compressed at this moment, or a disk that fails.
func (l *logs) warnCut(f *logFile, err error) { l.warn("%s: cannot be read whole: %v", f.name, err) }

func mentions(line []byte, wanted map[string]bool) bool {
	for id := range wanted {
		if bytes.Contains(line, []byte(id)) {
			return true
		}
	}
	return false
}
