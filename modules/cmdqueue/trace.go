package cmdqueue

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminclient"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

func traceCommand() *cobra.Command {
	a := new(adminclient.Admin)
	var logs []string
	cmd := &cobra.Command{
		Use:   "trace <id>",
		Short: "Tells the whole story of a message: its session, policies, attempts and replies",
		Long: `Tells what the queue of the running server knows of a message, and what its log says of
it: the session that it came in, what policies said, each attempt and its reply, and the
notifications that were sent about it. What was delivered, deleted or refused is in the log
alone, so name its files with --log (Caddy's JSON format; .gz is unpacked).`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cmd.SilenceUsage = true
			return trace(cmd.OutOrStdout(), a, args[0], logs)
		},
	}
	a.Flags(cmd.Flags())
	cmd.Flags().StringArrayVar(&logs, "log", nil, "a log file, oldest first when there are several")
	return cmd
}

func trace(w io.Writer, a *adminclient.Admin, id string, logs []string) error {
	lines, err := readLogs(logs, id)
	if err != nil {
		return err
	}
	e := new(queue.Entry)
	missing := a.Get("/msa/queue/"+url.PathEscape(id), e)
	if missing != nil && len(lines) == 0 {
		if len(logs) == 0 {
			return fmt.Errorf("%w; its log files may tell more: --log <file>", missing)
		}
		return fmt.Errorf("%w; the log files say nothing of it", missing)
	}
	st := styleFor(w)
	for _, l := range lines {
		fmt.Fprintln(w, l.text(st))
	}
	if missing == nil {
		if len(lines) > 0 {
			fmt.Fprintln(w)
			e.History = nil // the log has told it
		}
		show(w, e)
	}
	return nil
}

// logLine is a line of Caddy's JSON log.
type logLine struct {
	at     time.Time
	fields map[string]any
}

// readLogs finds the lines about a message, those of its session and of its notifications among them.
func readLogs(files []string, id string) ([]logLine, error) {
	wanted := map[string]bool{id: true}
	// The session's lines come before its messages', and a notification's after: look until
	// nothing new is named.
	for {
		var lines []logLine
		known := len(wanted)
		for _, file := range files {
			found, err := readLog(file, wanted)
			if err != nil {
				return nil, err
			}
			lines = append(lines, found...)
		}
		for _, l := range lines {
			if !l.about(id) {
				continue
			}
			for _, name := range []string{"session", "bounce"} {
				if other, ok := l.fields[name].(string); ok && other != "" {
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

func (l logLine) about(id string) bool { return l.fields["queue_id"] == id || l.fields["bounce"] == id }

// otherMessage tells whether the line is about another message of the same session.
func (l logLine) otherMessage(wanted map[string]bool) bool {
	id, ok := l.fields["queue_id"].(string)
	return ok && id != "" && !wanted[id]
}

// longestLine bounds a line that is looked at.
const longestLine = 1 << 20

func readLog(file string, wanted map[string]bool) (lines []logLine, err error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var r io.Reader = f
	if strings.HasSuffix(file, ".gz") {
		z, err := gzip.NewReader(f)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		r = z
	}
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 64<<10), longestLine)
	for s.Scan() {
		if l, ok := parseLine(s.Bytes(), wanted); ok {
			lines = append(lines, l)
		}
	}
	if err := s.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return lines, nil
}

func parseLine(b []byte, wanted map[string]bool) (l logLine, ok bool) {
	for id := range wanted {
		ok = ok || bytes.Contains(b, []byte(`"`+id+`"`))
	}
	if !ok || json.Unmarshal(b, &l.fields) != nil {
		return l, false
	}
	for _, name := range []string{"queue_id", "session", "bounce"} {
		if id, is := l.fields[name].(string); is && wanted[id] {
			l.at = logTime(l.fields["ts"])
			return l, true
		}
	}
	return l, false
}

// logTime reads Caddy's default format, seconds since 1970, and RFC 3339.
func logTime(ts any) time.Time {
	switch v := ts.(type) {
	case float64:
		return time.UnixMicro(int64(v * 1e6))
	case string:
		t, _ := time.Parse(time.RFC3339Nano, v)
		return t
	}
	return time.Time{}
}

// text is the line for a reader: what was said first, the rest behind it.
func (l logLine) text(st style) string {
	level, _ := l.fields["level"].(string)
	msg, _ := l.fields["msg"].(string)
	msg = printable(msg)
	switch level {
	case "error":
		msg = st.plain(red, msg)
	case "warn":
		msg = st.plain(yellow, msg)
	}
	var words []string
	for _, name := range sortedKeys(l.fields) {
		switch name {
		case "ts", "level", "msg", "logger", "server":
			continue
		}
		words = append(words, st.plain(dim, name+"=")+printable(fieldText(l.fields[name])))
	}
	return st.plain(dim, stamp(l.at)) + " " + msg + "  " + strings.Join(words, " ")
}

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func fieldText(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	b, _ := json.Marshal(v)
	return string(b)
}
