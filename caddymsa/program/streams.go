package program

import (
	"io"
	"strings"
	"sync"
)

// output keeps the first octets and throws the rest away, so that the command never waits.
type output struct {
	kept []byte
	left int
}

func (o *output) Write(p []byte) (int, error) {
	n := min(len(p), o.left)
	o.kept = append(o.kept, p[:n]...)
	o.left -= n
	return len(p), nil
}

// line is the first that is not empty. It is as the command wrote it.
func (o *output) line() string {
	for line := range strings.Lines(string(o.kept)) {
		if line = strings.TrimSpace(line); line != "" {
			return line
		}
	}
	return ""
}

// input remembers that it could not be read to its end, and kills the command then: half of it must not look like
// all of it.
type input struct {
	r    io.Reader
	stop func() error

	reading sync.Mutex
	left    bool // nobody may read any more

	mu  sync.Mutex
	err error
}

// kills says how the command is killed.
func (t *input) kills(stop func() error) { t.stop = stop }

// leave keeps the command from reading more: whoever runs it closes the input. There is no end in sight for it then.
func (t *input) leave() {
	t.reading.Lock()
	defer t.reading.Unlock()
	t.left = true
}

func (t *input) Read(p []byte) (int, error) {
	t.reading.Lock()
	defer t.reading.Unlock()
	if t.left {
		return 0, errLeft
	}
	n, err := t.r.Read(p)
	if err != nil && err != io.EOF {
		t.mu.Lock()
		t.err = err
		t.mu.Unlock()
		_ = t.stop()
	}
	return n, err
}

// whole tells whether the command may see the end.
func (t *input) whole() bool {
	t.reading.Lock()
	defer t.reading.Unlock()
	return !t.left && t.failed() == nil
}

func (t *input) failed() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

// feed gives it to the command, which need not read it all. One that cannot be read to its end has the command killed before that
// sees an end.
func (t *input) feed(in io.WriteCloser) {
	_, _ = io.Copy(in, t)
	if t.whole() {
		_ = in.Close()
	}
}
