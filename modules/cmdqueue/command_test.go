package cmdqueue

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

var update = flag.Bool("update", false, "write what commands print into testdata")

func init() { time.Local = time.UTC } // as golden files have it

const evil = "\x1b]0;OWNED\x07\x1b[2J\u009b2J"

// admin is a server's admin API that has two messages.
type admin struct {
	*httptest.Server
	asked []string
}

func newAdmin(t *testing.T) *admin {
	t.Helper()

	accepted := time.Now().Add(-90 * time.Minute)
	first := &adminapi.Entry{
		Entry: queue.Entry{
			ID: "M1", Server: "msa.example.org", User: "alice@example.org", Mechanism: "SCRAM-SHA-256", Sender: "alice@example.org", RemoteIP: "192.0.2.7", Helo: "laptop" + evil,
			Accepted: accepted, Size: 1843, Session: "5e55",
		},
		State: "queued", Attempts: 2, Next: time.Now().Add(3*time.Hour + 30*time.Second),
		Recipients: []adminapi.Recipient{
			{Recipient: queue.Recipient{Address: "bob@example.net", Fate: queue.Fate{Error: "451 4.3.0 come back" + evil, RemoteMTA: "mx.example.net"}}, Lane: "relay/mx.example.net"},
			{Recipient: queue.Recipient{Address: "carol@example.net", Fate: queue.Fate{State: queue.Delivered}}, Lane: "relay/mx.example.net"},
		},
	}
	second := &adminapi.Entry{
		Entry: queue.Entry{ID: "M2", Server: "msa.example.org", Accepted: accepted, Size: 52 << 20}, State: "held", Held: "by the operator",
		Recipients: []adminapi.Recipient{{Recipient: queue.Recipient{Address: "dave@example.net"}}},
	}
	third := &adminapi.Entry{
		Entry: queue.Entry{ID: "M3", Server: "msa.example.org", Accepted: accepted, Size: 4096, Sender: "alice@example.org"}, State: "queued", Attempts: 4, Next: time.Now().Add(time.Hour + 30*time.Second),
		Recipients: []adminapi.Recipient{{Recipient: queue.Recipient{Address: "dave@example.net", Fate: queue.Fate{State: queue.Delivered}}, Lane: "relay/mx.example.net"}},
		Copies: []adminapi.Copy{
			{Name: "archive", Lane: "archive/store.example/mail", Error: "503 Slow Down" + evil}, {Name: "journal", Lane: "journal", State: queue.Delivered},
			{Name: "bcc", Lane: "bcc", State: queue.Failed, Error: "550 5.1.1 No such user"},
		},
		Jobs:    []adminapi.Job{{Copy: "archive", Lane: "archive/store.example/mail", To: "0", Attempts: 4, Due: accepted, Why: "waits for its next attempt"}},
		History: []queue.Event{{Time: accepted, What: "delivered", Route: "relay", To: queue.Indexes{0}}, {Time: accepted, What: "deferred", Copy: "archive", Route: "archive", Text: "503 Slow Down", To: queue.Indexes{0}}},
	}
	flying := &adminapi.Entry{
		Entry: queue.Entry{ID: "M4", Server: "msa.example.org", Accepted: accepted, Size: 4096, Sender: "alice@example.org"}, State: "queued", Attempts: 1,
		Recipients: []adminapi.Recipient{{Recipient: queue.Recipient{Address: "dave@example.net"}, Lane: "relay/mx.example.net"}},
		Jobs:       []adminapi.Job{{Lane: "relay/mx.example.net", To: "0", Attempts: 1, Due: accepted, Why: "is being delivered"}},
	}
	a := new(admin)
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		a.asked = append(a.asked, strings.TrimSpace(r.Method+" "+r.URL.RequestURI()+" "+string(body)))
		answer := func(v any) { _ = json.NewEncoder(w).Encode(v) }
		switch r.URL.Path {
		case "/msa/queue":
			page := adminapi.QueuePage{Entries: []*adminapi.Entry{first, second}}
			if r.URL.Query().Get("lane") != "" {
				page.Entries = []*adminapi.Entry{third}
			}
			if r.URL.Query().Get("error") != "" {
				page = adminapi.QueuePage{Entries: []*adminapi.Entry{flying}, Next: "M5"}
			}
			answer(page)
		case "/msa/queue/M4":
			answer(flying)
		case "/msa/queue/M3":
			answer(third)
		case "/msa/queue/M1":
			answer(first)
		case "/msa/queue/M2":
			answer(second)
		case "/msa/history":
			answer(historyOf(r.URL.Query()))
		case "/msa/journal/stat":
			answer(adminapi.Journals{Keep: 7 * 24 * time.Hour, MaxSize: 1 << 30, Journals: []adminapi.Journal{
				{Spool: "file:/var/spool/caddy-msa" + evil, Stat: journal.Stat{Facts: 1234, Octets: 700 << 10, Oldest: noon.Add(-5 * time.Hour), Dropped: 2}},
				{Spool: "other:x", Former: true, None: true},
			}})
		case "/msa/journal-actions/purge":
			answer(adminapi.JournalPurged{Facts: 3})
		case "/msa/queue-content/M1":
			w.Header().Set("Content-Type", "message/rfc822")
			_, _ = io.WriteString(w, "Subject: x"+evil+"\r\n\r\nbody\r\n")
		case "/msa/queue-actions/hold", "/msa/queue-actions/bounce":
			var q adminapi.QueueAction
			_ = json.Unmarshal(body, &q)
			said := adminapi.QueueActionAnswer{Failed: map[string]string{}}
			for _, id := range q.IDs {
				if strings.HasPrefix(id, "M") {
					said.Done = append(said.Done, id)
				} else {
					said.Failed[id] = "no such message" + evil
				}
			}
			answer(said)
		default:
			w.WriteHeader(http.StatusNotFound)
			answer(map[string]string{"error": "no message " + evil})
		}
	}))
	t.Cleanup(a.Close)
	return a
}

// run runs a command as main would, and returns what it prints and its error.
func (a *admin) run(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	root := &cobra.Command{Use: "msa", SilenceErrors: true}
	root.AddCommand(newCommand(), traceCommand(), historyCommand(), journalCommand())
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&out)
	root.SetIn(strings.NewReader(stdin))
	root.SetArgs(append(args, "--address", strings.TrimPrefix(a.URL, "http://")))
	if err := root.Execute(); err != nil {
		fmt.Fprintln(&out, "Error:", err)
	}
	return out.String()
}

var varies = regexp.MustCompile(`\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?Z?|\(\w+ ago\)|127\.0\.0\.1:\d+`)

// usage is what cobra prints of the flags; others test it.
var usage = regexp.MustCompile(`(?s)^Usage:.*\n\n`)

func golden(t *testing.T, name, got string) {
	t.Helper()
	got = usage.ReplaceAllString(got, "")
	got = varies.ReplaceAllString(got, "<varies>")
	path := filepath.Join("testdata", name+".txt")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || string(want) != got {
		t.Errorf("%s: %v, have\n%s", name, err, got)
	}
}

// What the commands print, with nothing in it that steers a terminal.
func TestOutput(t *testing.T) {
	for name, tt := range map[string]struct {
		args  []string
		asked string // the last request
	}{
		"list":            {[]string{"queue", "list"}, "GET /msa/queue?after=&limit=100"},
		"list_filter":     {[]string{"queue", "list", "--user", "alice@example.org", "--older", "1h", "--limit", "0"}, "GET /msa/queue?after=&limit=1000&older=1h&user=alice%40example.org"},
		"show":            {[]string{"queue", "show", "M1"}, "GET /msa/queue/M1"},
		"list_copies":     {[]string{"queue", "list", "--lane", "archive/store.example/mail"}, "GET /msa/queue?after=&lane=archive%2Fstore.example%2Fmail&limit=100"},
		"show_copies":     {[]string{"queue", "show", "M3"}, "GET /msa/queue/M3"},
		"show_missing":    {[]string{"queue", "show", "M9"}, "GET /msa/queue/M9"},
		"lower_missing":   {[]string{"queue", "show", "m8kgphc0xvxd96se"}, "GET /msa/queue/M8KGPHC0XVXD96SE"},
		"show_empty":      {[]string{"queue", "show", ""}, ""},
		"cat_empty":       {[]string{"queue", "cat", " "}, ""},
		"trace_empty":     {[]string{"trace", ""}, ""},
		"hold_twice":      {[]string{"queue", "hold", "M1", "M1", "M2"}, `POST /msa/queue-actions/hold {"ids":["M1","M2"]}`},
		"hold_missing":    {[]string{"queue", "hold", "M1", "X"}, `POST /msa/queue-actions/hold {"ids":["M1","X"]}`},
		"hold_empty":      {[]string{"queue", "hold", "M1", ""}, ""},
		"hold_path":       {[]string{"queue", "hold", "M1", "../lanes"}, ""},
		"pause_empty":     {[]string{"queue", "lanes", "pause", ""}, ""},
		"list_limit":      {[]string{"queue", "list", "--limit", "-1"}, ""},
		"hold_nothing":    {[]string{"queue", "hold"}, ""},
		"delete_empty":    {[]string{"queue", "delete", "--all", "--yes", "--user", ""}, ""},
		"hold_newer":      {[]string{"queue", "hold", "--all", "--newer", "-2h"}, ""},
		"list_state":      {[]string{"queue", "list", "--state", "banana"}, ""},
		"show_flight":     {[]string{"queue", "show", "M4"}, "GET /msa/queue/M4"},
		"list_flight":     {[]string{"queue", "list", "--error", "odd", "--limit", "1"}, "GET /msa/queue?after=&error=odd&limit=1"},
		"bounce_unasked":  {[]string{"queue", "bounce", "M1"}, ""},
		"bounce_all":      {[]string{"queue", "bounce", "--all", "--yes", "--reason", "closed"}, `POST /msa/queue-actions/bounce {"ids":["M1","M2"],"reason":"closed"}`},
		"history":         {[]string{"history"}, "GET /msa/history?limit=100"},
		"history_limit":   {[]string{"history", "--limit", "2"}, "GET /msa/history?limit=2"},
		"history_all":     {[]string{"history", "--all", "--id", "M5", "--json"}, "GET /msa/history?before=p1&id=M5&limit=1000"},
		"history_nothing": {[]string{"history", "--user", "nobody", "--state", "failed,expired", "--state", "held", "--hop-id", "x y", "--address", "bob@example.net"}, "GET /msa/journal/stat"},
		"history_both":    {[]string{"history", "--all", "--limit", "3"}, ""},
		"history_twice":   {[]string{"history", "--address", "a@example.net", "--address", "b@example.net"}, ""},
		"history_no_at":   {[]string{"history", "--admin", "localhost:2019", "--address", "bob"}, ""},
		"history_since":   {[]string{"history", "--since", "banana"}, ""},
		"history_until":   {[]string{"history", "--since", "2d", "--until", "yesterday"}, ""},
		"history_state":   {[]string{"history", "--state", "failed,banana"}, ""},
		"history_zero":    {[]string{"history", "--limit", "0"}, ""},
		"trace":           {[]string{"trace", "M5"}, "GET /msa/queue/M6"},
		"trace_queued":    {[]string{"trace", "M1"}, "GET /msa/queue/M1"},
		"trace_journal":   {[]string{"trace", "M2"}, "GET /msa/journal/stat"},
		"trace_bounce":    {[]string{"trace", "M6"}, "GET /msa/queue/M6"},
		"trace_unknown":   {[]string{"trace", "M9"}, "GET /msa/journal/stat"},
		"stat":            {[]string{"journal", "stat"}, "GET /msa/journal/stat"},
		"purge":           {[]string{"journal", "purge", "--address", "bob@example.net", "--yes"}, `POST /msa/journal-actions/purge {"address":"bob@example.net"}`},
		"purge_user":      {[]string{"journal", "purge", "--user", "bob", "--yes"}, `POST /msa/journal-actions/purge {"address":"bob"}`},
		"purge_unasked":   {[]string{"journal", "purge", "--address", "bob@example.net"}, ""},
		"purge_nothing":   {[]string{"journal", "purge", "--yes"}, ""},
		"reroute_nowhere": {[]string{"queue", "reroute", "M1"}, ""},
	} {
		a := newAdmin(t)
		got := a.run(t, "", tt.args...)
		if strings.ContainsAny(got, "\x1b\x07\u009b") && !strings.HasSuffix(name, "_missing") && !slices.Contains(tt.args, "--json") { // errors are made harmless by whoever runs the command
			t.Errorf("%s: %q", name, got)
		}
		last := ""
		if len(a.asked) > 0 {
			last = a.asked[len(a.asked)-1]
		}
		if last != tt.asked {
			t.Errorf("%s asked %s", name, last)
		}
		golden(t, name, strings.ReplaceAll(got, evil, "<evil>"))
	}
}

// A pipe gets a message as it is.
func TestCat(t *testing.T) {
	if got := newAdmin(t).run(t, "", "queue", "cat", "M1"); got != "Subject: x"+evil+"\r\n\r\nbody\r\n" {
		t.Errorf("%q", got)
	}
}

// A server that cannot be reached draws advice.
func TestUnreachable(t *testing.T) {
	a := newAdmin(t)
	a.Close()
	golden(t, "unreachable", a.run(t, "", "queue", "list"))
}

// The log in all its formats, by file, compressed, and on standard input.
func TestTrace(t *testing.T) {
	line := `{"level":"info","ts":1795782291.5,"logger":"msa","msg":"message accepted` + `","queue_id":"M7","session":"5e55","helo":"` + `\u001b[2J"}`
	quoted, _ := json.Marshal(line)
	other := `{"level":"warn","ts":1795782292.5,"logger":"msa","msg":"delivery deferred","queue_id":"M8","session":"5e55"}`
	console := "2026/11/27 12:24:51.500\tINFO\tmsa\tmessage accepted\t" + `{"queue_id": "M7", "session": "5e55", "helo": "\u001b[2J"}`
	for name, text := range map[string]string{
		"JSON":              line,
		"CR LF":             line + "\r",
		"console":           console,
		"coloured":          "2026/11/27 12:24:51.500\t\x1b[34mINFO\x1b[0m\tmsa\tmessage accepted\t" + `{"queue_id": "M7", "session": "5e55", "helo": "\u001b[2J"}`,
		"journald":          "Nov 27 12:24:51 host caddy[1]: " + line,
		"journald, console": "Nov 27 12:24:51 host caddy[1]: " + console,
		"journald, JSON":    `{"__REALTIME_TIMESTAMP":"1","_PID":"1","MESSAGE":` + string(quoted) + `}`,
		"Docker":            `{"log":` + strings.TrimSuffix(string(quoted), `"`) + `\n","stream":"stderr","time":"2026-11-27T12:24:51Z"}`,
		"Kubernetes":        "2026-11-27T12:24:51.5Z stderr F " + line,
		"milliseconds":      strings.Replace(line, "1795782291.5", "1795782291500", 1),
		"RFC 3339":          strings.Replace(line, "1795782291.5", `"2026-11-27T12:24:51.5Z"`, 1),
	} {
		text = "noise {not json}\n\n" + text + "\n" + other + "\n"
		dir := t.TempDir()
		var z bytes.Buffer
		w := gzip.NewWriter(&z)
		_, _ = w.Write([]byte(text))
		_ = w.Close()
		for file, b := range map[string][]byte{"plain": []byte(text), "compressed": z.Bytes()} {
			if err := os.WriteFile(filepath.Join(dir, file), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		for _, from := range []string{filepath.Join(dir, "plain"), filepath.Join(dir, "compressed"), "-"} {
			got := newAdmin(t).run(t, text, "trace", "M7", "--log", from)
			if got != "2026-11-27 12:24:51 message accepted  helo=?[2J queue_id=M7 session=5e55\n" {
				t.Errorf("%s, %s: %q", name, from, got)
			}
		}
	}
}

// What cannot be read is said.
func TestTraceStrange(t *testing.T) {
	for name, tt := range map[string]struct{ text, want string }{
		"own format": {"Nov 27 accepted M7 from alice\nmore\nM7 again\n", "2 lines that name the message cannot be read; the first is line 1"},
		"no log":     {"one\ntwo\n", "none of its lines is one of Caddy's log"},
		"long line":  {strings.Repeat("x", longestLine+10) + "M7\n{\"level\":\"info\",\"ts\":1,\"msg\":\"x\"}\n", "line 1 is longer than 1 MiB"},
		"another's":  {`{"level":"info","ts":1,"msg":"x","queue_id":"M1"}` + "\n", "the log files say nothing of it"},
	} {
		got := newAdmin(t).run(t, tt.text, "trace", "M7", "--log", "-")
		if !strings.Contains(got, tt.want) || !strings.Contains(got, "Error:") || strings.Contains(got, "say nothing") != (name == "another's") {
			t.Errorf("%s: %s", name, got)
		}
	}
	for ts, want := range map[string]string{`"ts":"27/Nov/2026",`: "27/Nov/2026 x ", ``: "- x "} { // a format of one's own, and no time
		line := `{"level":"info",` + ts + `"msg":"x","queue_id":"M7"}`
		if got := newAdmin(t).run(t, line, "trace", "M7", "--log", "-"); !strings.HasPrefix(got, want) {
			t.Error(got)
		}
	}
	if got := newAdmin(t).run(t, "", "trace", "M7", "--log", t.TempDir()); !strings.Contains(got, "is a directory") {
		t.Error(got)
	}
}

// A file that is only just being compressed does not keep back what there is to read, and what is not is said.
func TestTraceCutOff(t *testing.T) {
	line := `{"level":"info","ts":1795782291.5,"msg":"message accepted","queue_id":"M7"}` + "\n"
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	_, _ = w.Write([]byte(line))
	_ = w.Flush() // there is no end
	dir := t.TempDir()
	for file, b := range map[string][]byte{"cut.gz": z.Bytes(), "begun.gz": z.Bytes()[:4], "plain": []byte(strings.Replace(line, "accepted", "delivered", 1))} {
		if err := os.WriteFile(filepath.Join(dir, file), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got := newAdmin(t).run(t, "", "trace", "M7", "--log", filepath.Join(dir, "cut.gz"), "--log", filepath.Join(dir, "begun.gz"), "--log", filepath.Join(dir, "plain"))
	for _, want := range []string{"message accepted", "message delivered", "cut.gz: cannot be read whole: unexpected EOF", "begun.gz: cannot be read whole: unexpected EOF"} {
		if !strings.Contains(got, want) || strings.Contains(got, "Error:") {
			t.Errorf("not %s in\n%s", want, got)
		}
	}
}

func FuzzParseLine(f *testing.F) {
	f.Add([]byte(`{"level":"info","ts":1795782291.1,"msg":"x","queue_id":"M1"}`))
	f.Add([]byte("2026/11/27 12:24:51.500\tINFO\tmsa\tmessage accepted\t{\"queue_id\": \"M7\"}"))
	f.Add([]byte(`{"MESSAGE":"{\"msg\":\"x\",\"level\":\"info\"}"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if l, ok := parseLine(b); ok {
			if text := l.text(style{}); strings.ContainsAny(text, "\x1b\x00\n\u009b") {
				t.Errorf("%q", text)
			}
		}
	})
}
