package integration

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// marionette steers a program of Mozilla's from outside: messages are JSON, with their length before them.
// https://firefox-source-docs.mozilla.org/testing/marionette/Protocol.html
type marionette struct {
	nc net.Conn
	r  *bufio.Reader
	id int
}

// slowStart is how long a program with a window is waited for, on a busy machine.
const slowStart = 6 * time.Minute

// newMarionette waits until the program of a profile can be steered, and begins a session.
func newMarionette(t *testing.T, profile string) *marionette {
	t.Helper()
	var port []byte
	awaitFor(t, slowStart, "the port to steer it by", func() (ok bool) {
		port, _ = os.ReadFile(filepath.Join(profile, "MarionetteActivePort"))
		return len(port) > 0
	})
	nc, err := net.Dial("tcp", "127.0.0.1:"+strings.TrimSpace(string(port)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	m := &marionette{nc: nc, r: bufio.NewReader(nc)}
	_ = nc.SetDeadline(time.Now().Add(slowStart))
	if _, err := m.read(); err != nil { // what it says of itself
		t.Fatal(err)
	}
	if _, err := m.call("WebDriver:NewSession", map[string]any{}); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *marionette) read() ([]byte, error) {
	length, err := m.r.ReadString(':')
	if err != nil {
		return nil, err
	}
	n, err := strconv.Atoi(strings.TrimSuffix(length, ":"))
	if err != nil || n < 0 || n > 16<<20 {
		return nil, fmt.Errorf("length %q", length)
	}
	message := make([]byte, n)
	_, err = io.ReadFull(m.r, message)
	return message, err
}

// call has a command done, and returns what came of it.
func (m *marionette) call(command string, parameters any) (json.RawMessage, error) {
	m.id++
	message, err := json.Marshal([]any{0, m.id, command, parameters})
	if err != nil {
		return nil, err
	}
	_ = m.nc.SetDeadline(time.Now().Add(slowStart))
	if _, err := fmt.Fprintf(m.nc, "%d:%s", len(message), message); err != nil {
		return nil, err
	}
	answer, err := m.read()
	if err != nil {
		return nil, err
	}
	var parts []json.RawMessage // 1, id, error, result
	if err := json.Unmarshal(answer, &parts); err != nil || len(parts) != 4 {
		return nil, fmt.Errorf("%s: %w", answer, errors.Join(err, errors.New("not an answer")))
	}
	if string(parts[2]) != "null" {
		return nil, fmt.Errorf("%s: %s", command, parts[2])
	}
	return parts[3], nil
}
