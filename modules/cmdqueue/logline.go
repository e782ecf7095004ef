package cmdqueue

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
	"time"
)

// logLine is a line of Caddy's log.
type logLine struct {
	at     time.Time
	fields map[string]any
}

func (l logLine) about(id string) bool { return l.fields["queue_id"] == id || l.fields["bounce"] == id }

// concerns tells whether the line is about one of the ids: of messages, sessions and notifications.
func (l logLine) concerns(wanted map[string]bool) bool {
	for _, name := range []string{"queue_id", "session", "bounce"} {
		if id, is := l.fields[name].(string); is && wanted[id] {
			return true
		}
	}
	return false
}

// otherMessage tells whether the line is about another message of the same session.
func (l logLine) otherMessage(wanted map[string]bool) bool {
	id, ok := l.fields["queue_id"].(string)
	return ok && id != "" && !wanted[id]
}

// containers are the fields in which journald (-o json) and Docker put a line.
var containers = []string{"MESSAGE", "log"}

// parseLine reads a line in Caddy's JSON or console format, as it is or behind what journald, Docker or Kubernetes put before it.
func parseLine(b []byte) (l logLine, ok bool) { return parse(b, 2) }

func parse(b []byte, depth int) (l logLine, ok bool) {
	b = bytes.TrimSpace(colour.ReplaceAll(b, nil))
	i := bytes.IndexByte(b, '{')
	if i < 0 {
		return console(b, nil)
	}
	if json.Unmarshal(b[i:], &l.fields) != nil {
		return console(b, nil)
	}
	if _, ok := l.fields["msg"].(string); ok {
		if l.at = logTime(l.fields["ts"]); !l.at.IsZero() || l.fields["level"] != nil {
			return l, true
		}
	}
	for _, name := range containers {
		if text, ok := l.fields[name].(string); ok && depth > 0 {
			return parse([]byte(text), depth-1)
		}
	}
	return console(b[:i], l.fields)
}

var (
	colour = regexp.MustCompile("\x1b\\[[0-9;]*m")
	// stampAt is the time that a line in console format begins with, perhaps behind a prefix.
	stampAt = regexp.MustCompile(`(\d{4}/\d\d/\d\d \d\d:\d\d:\d\d(?:\.\d+)?|\d{4}-\d\d-\d\dT[0-9:.+Z-]+|\d{9,10}(?:\.\d+)?)$`)
)

// console reads time, level, logger and message, between tabs, before the fields.
func console(b []byte, fields map[string]any) (l logLine, ok bool) {
	words := strings.Split(strings.TrimSpace(string(b)), "\t")
	if len(words) < 3 {
		return l, false
	}
	if l.at = logTime(stampAt.FindString(words[0])); l.at.IsZero() {
		return l, false
	}
	if l.fields = fields; l.fields == nil {
		l.fields = make(map[string]any)
	}
	l.fields["level"], l.fields["msg"] = strings.ToLower(words[1]), words[len(words)-1]
	if len(words) > 3 {
		l.fields["logger"] = words[2]
	}
	return l, true
}

// logTime reads Caddy's default formats, seconds, milliseconds and nanoseconds since 1970, and RFC 3339.
func logTime(ts any) time.Time {
	switch v := ts.(type) {
	case float64:
		switch {
		case v > 1e17:
			return time.Unix(0, int64(v))
		case v > 1e11:
			return time.UnixMicro(int64(v * 1e3))
		case v > 0:
			return time.UnixMicro(int64(v * 1e6))
		}
	case string:
		for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.000Z0700", "2006/01/02 15:04:05.000", "2006/01/02 15:04:05"} {
			if t, err := time.ParseInLocation(layout, v, time.Local); err == nil {
				return t
			}
		}
		var seconds float64
		if json.Unmarshal([]byte(v), &seconds) == nil && v != "" {
			return logTime(seconds)
		}
	}
	return time.Time{}
}
