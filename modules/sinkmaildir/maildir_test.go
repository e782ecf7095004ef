package sinkmaildir

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa/durable"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
	"github.com/caddy-msa/caddy-msa/caddymsa/names"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

const layout = "/{msa.recipient.domain}/{msa.recipient.local}/Maildir"

func newSink(t testing.TB, path string) *Maildir {
	t.Helper()
	m := &Maildir{Path: path}
	if err := m.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	return m
}

// stored returns the messages in new of all Maildirs below dir, by path.
func stored(t testing.TB, dir string) map[string][]byte {
	t.Helper()
	all := make(map[string][]byte)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if filepath.Base(filepath.Dir(path)) != "new" {
			t.Errorf("left over: %s", path)
		}
		b, err := os.ReadFile(path)
		all[path] = b
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return all
}

func TestConformance(t *testing.T) {
	msatest.Sink(t, func(t testing.TB) (queue.Sink, func() [][]byte) {
		dir := t.TempDir()
		return newSink(t, dir+layout), func() (all [][]byte) {
			for _, m := range stored(t, dir) {
				all = append(all, m)
			}
			return all
		}
	})
}

// bob, Bob and BOB are one mailbox to Dovecot, so they have one Maildir, and one copy of what goes to all of them.
func TestCase(t *testing.T) {
	for setting, want := range map[string][]string{"": {"bob"}, " {\n case fold\n}": {"bob"}, " {\n case exact\n}": {"BOB", "Bob", "bob"}} {
		dir, m := t.TempDir(), new(Maildir)
		d := caddyfile.NewTestDispenser("maildir " + dir + "/mail/{msa.recipient.domain}/{msa.recipient.local}" + setting)
		if err := m.UnmarshalCaddyfile(d); err != nil {
			t.Fatal(err)
		}
		if err := m.Provision(caddy.Context{}); err != nil {
			t.Fatal(err)
		}
		if err := m.Deliver(t.Context(), msatest.NewDelivery([]byte("Subject: s\r\n\r\nx\r\n"), "bob@box.test", "Bob@box.test", "BOB@BOX.test")); err != nil {
			t.Fatal(err)
		}
		entries, err := os.ReadDir(dir + "/mail/box.test")
		var have []string
		for _, e := range entries {
			have = append(have, e.Name())
		}
		if err != nil || !slices.Equal(have, want) || len(stored(t, dir)) != len(want) {
			t.Errorf("%q: %v, want %v, %v", setting, have, want, err)
		}
	}
	for _, bad := range []string{"maildir /x {\n case upper\n}", "maildir /x {\n case\n}", "maildir /x {\n other\n}"} {
		if new(Maildir).UnmarshalCaddyfile(caddyfile.NewTestDispenser(bad)) == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

// what was submitted is what is delivered, behind the Return-Path field.
func TestFile(t *testing.T) {
	dir := t.TempDir()
	sink := newSink(t, dir+"/mail/"+layout)
	d := msatest.NewDelivery([]byte("Received: x\r\nSubject: s\r\n\r\nbody\xff\r\n"), `"B o"@BÜCHER.Example`)
	d.Entry.ID, d.Entry.Sender = "QID", `"a b"@Example.org`
	if err := sink.Deliver(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	all := stored(t, dir)
	if len(all) != 1 {
		t.Fatalf("%d files", len(all))
	}
	for path, have := range all {
		if want := "Return-Path: <\"a b\"@Example.org>\r\nReceived: x\r\nSubject: s\r\n\r\nbody\xff\r\n"; string(have) != want {
			t.Errorf("have %q", have)
		}
		rel, _ := filepath.Rel(dir, path)
		where, name := filepath.Split(rel)
		if where != "mail/xn--bcher-kva.example/b o/Maildir/new/" {
			t.Errorf("stored in %s", where)
		}
		if !strings.Contains(name, ".QQIDR") || !strings.HasSuffix(name, ".msa.example.org,S=68") {
			t.Errorf("named %s (%d octets)", name, len(have))
		}
		if fi, _ := os.Stat(path); fi.Mode().Perm() != 0o600 {
			t.Errorf("mode %v", fi.Mode())
		}
		for _, p := range []string{"mail", "mail/xn--bcher-kva.example", "mail/xn--bcher-kva.example/b o/Maildir/tmp"} {
			if fi, err := os.Stat(filepath.Join(dir, p)); err != nil || fi.Mode().Perm() != 0o700 {
				t.Errorf("%s: %v %v", p, fi.Mode(), err)
			}
		}
	}
}

// An attempt that succeeded and was not recorded leaves no second copy, and
// neither does a crash in the middle of one.
func TestAgain(t *testing.T) {
	dir := t.TempDir()
	sink := newSink(t, dir+layout)
	d := msatest.NewDelivery([]byte("\r\nbody\r\n"), "bob@example.org", "bob@example.org", "carol@example.org")
	tmp := filepath.Join(dir, "example.org/bob/Maildir/tmp", sink.uniqueName(d.Entry, d.Recipients[0]))
	for range 3 {
		if err := sink.Deliver(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		if all := stored(t, dir); len(all) != 2 {
			t.Fatalf("%d files", len(all))
		}
		if err := os.WriteFile(tmp, bytes.Repeat([]byte("half a message"), 100), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCheckRecipient(t *testing.T) {
	sink := newSink(t, "/nowhere/{msa.recipient.local}/{msa.queue_id}")
	for address, ok := range map[string]bool{
		"bob@example.org": true, "a/b@example.org": false, `"..\/x"@example.org`: false, `".."@example.org`: false,
	} {
		err := sink.CheckRecipient(t.Context(), new(queue.Entry), &queue.Recipient{Address: address})
		var reply *smtp.SMTPError
		if ok != (err == nil) || !ok && (!errors.As(err, &reply) || reply.Code != 550 || reply.EnhancedCode != smtp.EnhancedCode{5, 1, 3}) {
			t.Errorf("%s: %v", address, err)
		}
	}
}

// Who lacks the attribute that the path has is told that it is the account, not the recipient.
func TestCheckAttribute(t *testing.T) {
	sink := newSink(t, "/nowhere/{msa.identity.attributes.org}/{msa.recipient.local}")
	for value, want := range map[string]smtp.EnhancedCode{"acme": {}, "": {5, 7, 1}, "..": {5, 7, 1}, "a/b": {5, 7, 1}} {
		err := sink.CheckRecipient(t.Context(), &queue.Entry{Attributes: map[string]string{"org": value}}, &queue.Recipient{Address: "bob@example.org"})
		reply, _ := errors.AsType[*smtp.SMTPError](err)
		if (err == nil) != (value == "acme") || err != nil && (reply == nil || reply.Code != 550 || reply.EnhancedCode != want) {
			t.Errorf("%q: %v", value, err)
		}
	}
}

// A recipient that makes no path fails alone.
func TestMixed(t *testing.T) {
	dir := t.TempDir()
	d := msatest.NewDelivery([]byte("\r\nbody\r\n"), "a/b@example.org", "bob@example.org")
	err := newSink(t, dir+layout).Deliver(t.Context(), d)
	if !msatest.IsPermanent(d.Outcome(d.Recipients[0], err)) || d.Outcome(d.Recipients[1], err) != nil {
		t.Errorf("%v, %v", d.Outcome(d.Recipients[0], err), d.Outcome(d.Recipients[1], err))
	}
	if len(stored(t, dir)) != 1 {
		t.Error("not stored")
	}
}

// A symbolic link that leads out of the base is not followed.
func TestLink(t *testing.T) {
	dir, out := t.TempDir(), t.TempDir()
	if err := os.Symlink(out, filepath.Join(dir, "example.org")); err != nil {
		t.Skip(err)
	}
	d := msatest.NewDelivery([]byte("\r\nbody\r\n"), "bob@example.org")
	if err := d.Outcome(d.Recipients[0], newSink(t, dir+layout).Deliver(t.Context(), d)); err == nil || msatest.IsPermanent(err) {
		t.Errorf("have %v", err)
	}
	if entries, _ := os.ReadDir(out); len(entries) != 0 {
		t.Error("something was made outside")
	}
}

// What the disk refuses is tried again.
func TestDiskError(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "example.org"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	d := msatest.NewDelivery([]byte("\r\nbody\r\n"), "bob@example.org")
	if err := d.Outcome(d.Recipients[0], newSink(t, dir+layout).Deliver(t.Context(), d)); err == nil || msatest.IsPermanent(err) {
		t.Errorf("have %v", err)
	}
}

func TestUniqueName(t *testing.T) {
	e := &queue.Entry{ID: "a/../:,b", Server: strings.Repeat("x", 300)}
	name := new(Maildir).uniqueName(e, &queue.Recipient{Address: "bob@example.org"})
	if strings.ContainsAny(name, "/:,") || len(name) > 220 {
		t.Error(name)
	}
	if name == new(Maildir).uniqueName(e, &queue.Recipient{Address: "carol@example.org"}) {
		t.Error("two recipients share a name")
	}
}

func TestConfig(t *testing.T) {
	for path, want := range map[string]string{
		"":                            "a path is required",
		"/var/mail/{msa.nobody}":      "unknown placeholder {msa.nobody}",
		"/var/mail/{env.MSA_NOT_SET}": "MSA_NOT_SET",
		"{msa.user}":                  "before the first placeholder",
		"/var/mail/x-{msa.user}":      "must be alone",
		"~/Maildir/{msa.user}":        "write the directory itself",
	} {
		m := &Maildir{Path: path}
		if err := m.Provision(caddy.Context{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", path, err)
		}
	}
	t.Setenv("MSA_DIR", "/srv/{msa.user}")
	if m := newSink(t, "{env.MSA_DIR}/{msa.user}"); m.base != "/srv/{msa.user}" {
		t.Errorf("base %s", m.base)
	}
}

func TestCaddyfile(t *testing.T) {
	for in, ok := range map[string]bool{
		"maildir /var/mail/{msa.user}": true, "maildir": false, "maildir a b": false, "maildir a {\n x\n}": false, "maildir /var/mail/{msa.user} {\n existing\n}": true, "maildir /var/mail/{msa.user} {\n existing /list\n case exact\n}": true,
		"maildir a {\n existing a b\n}": false, "maildir a {\n existing\n existing b\n}": false, "maildir a {\n case\n}": false,
	} {
		var m Maildir
		if err := m.UnmarshalCaddyfile(caddyfile.NewTestDispenser(in)); ok != (err == nil) || ok && m.Path != "/var/mail/{msa.user}" {
			t.Errorf("%q: %q, %v", in, m.Path, err)
		}
	}
}

// Only mailboxes that exist are delivered to: on disk, or in a list. Invented recipients make no directories.
func TestExisting(t *testing.T) {
	dir := t.TempDir()
	list := filepath.Join(dir, "list")
	if err := os.MkdirAll(filepath.Join(dir, "mail/example.org/bob/Maildir"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(list, []byte("\ufeffcarol@example.org,\r\n# nobody else\r\ncarol+x@example.org"), 0o600); err != nil {
		t.Fatal(err)
	}
	refused := func(m *Maildir, address string) bool {
		t.Helper()
		err := m.CheckRecipient(t.Context(), new(queue.Entry), &queue.Recipient{Address: address})
		reply, ok := errors.AsType[*smtp.SMTPError](err)
		if err != nil && (!ok || reply.Code != 550 || reply.EnhancedCode != smtp.EnhancedCode{5, 1, 1}) {
			t.Errorf("%s: %v", address, err)
		}
		return err != nil
	}
	provision := func(m *Maildir) *Maildir {
		t.Helper()
		if err := m.Provision(caddy.Context{}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = m.Cleanup() })
		return m
	}
	disk := provision(&Maildir{Path: dir + "/mail" + layout, Existing: true})
	listed := provision(&Maildir{Path: dir + "/mail" + layout, List: list})
	for address, want := range map[string][2]bool{
		"bob@example.org": {true, false}, "BOB@Example.org": {true, false}, "bob+x@example.org": {false, false}, "mallory@example.org": {false, false},
		"carol@example.org": {false, true}, "Carol@EXAMPLE.org": {false, true}, "carol+x@example.org": {false, true}, "carol+y@example.org": {false, false}, "bob@example.net": {false, false},
	} {
		if got := [2]bool{!refused(disk, address), !refused(listed, address)}; got != want {
			t.Errorf("%s: %v, want %v", address, got, want)
		}
	}
	if entries, err := os.ReadDir(dir + "/mail/example.org"); err != nil || len(entries) != 1 {
		t.Errorf("%v, %v", entries, err)
	}
	for m, address := range map[*Maildir]string{disk: "bob@example.org", listed: "carol@example.org"} {
		if err := m.Deliver(t.Context(), msatest.NewDelivery([]byte("\r\nbody\r\n"), address)); err != nil {
			t.Error(err)
		}
	}
	if n := len(stored(t, dir+"/mail")); n != 2 {
		t.Errorf("%d messages", n)
	}
	// One that was removed meanwhile is not made again, nor is the message given up: its disk may be missing.
	if err := os.RemoveAll(filepath.Join(dir, "mail/example.org/bob")); err != nil {
		t.Fatal(err)
	}
	d := msatest.NewDelivery([]byte("\r\nbody\r\n"), "bob@example.org")
	if err := d.Outcome(d.Recipients[0], disk.Deliver(t.Context(), d)); err == nil || msatest.IsPermanent(err) {
		t.Error(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "mail")); err != nil {
		t.Fatal(err)
	}
	if err := disk.CheckRecipient(t.Context(), new(queue.Entry), &queue.Recipient{Address: "bob@example.org"}); err == nil || msatest.IsPermanent(err) {
		t.Errorf("the disk is missing: %v", err)
	}
	for _, m := range []*Maildir{{Path: "/m/{msa.queue_id}", Existing: true}, {Path: "/m/{msa.user}", List: "/nowhere"}} {
		if err := m.Provision(caddy.Context{}); err == nil {
			t.Errorf("%+v: no error", m)
		}
	}
}

// A message to many is written to many Maildirs at once, each once, by readers of its own; one that fails does not
// keep the others from it, and an address that was given twice is one copy.
func TestManyRecipients(t *testing.T) {
	dir := t.TempDir()
	m := newSink(t, dir+"/{msa.recipient.local}")
	var rcpts []string
	for n := range 300 {
		rcpts = append(rcpts, fmt.Sprintf("user%d@example.org", n))
	}
	rcpts = append(rcpts, "user7@example.org", ".hidden@example.org")
	if err := os.WriteFile(dir+"/user9", nil, 0o600); err != nil { // in the Maildir's place
		t.Fatal(err)
	}
	d := msatest.NewDelivery([]byte("Subject: many\r\n\r\nx\r\n"), rcpts...)
	err := m.Deliver(t.Context(), d)
	if err == nil {
		t.Error("no error of the one that failed")
	}
	for n, r := range d.Recipients {
		said, err := d.Reported(r)
		want := queue.OutcomeDelivered
		switch n {
		case 9:
			want = queue.OutcomeDeferred
		case len(rcpts) - 1:
			want = queue.OutcomeFailed
		}
		if !said || queue.OutcomeOf(err) != want {
			t.Errorf("%s: %v, %v", r.Address, said, err)
		}
	}
	if err := os.Remove(dir + "/user9"); err != nil {
		t.Fatal(err)
	}
	if n := len(stored(t, dir)); n != 299 {
		t.Errorf("%d copies", n)
	}
}

// One mailbox that is given in several spellings gets one copy, in whatever order they are tried.
func TestSpellings(t *testing.T) {
	spellings := []string{"Bob@bücher.example", "bob@XN--bcher-kva.example", "\"b\\ob\"@bücher.example"}
	for c, want := range map[names.Case]int{names.Folded: 1, names.Exact: 2} {
		dir := t.TempDir()
		m := &Maildir{Path: dir + "/{msa.recipient.local}", Case: c}
		if err := m.Provision(caddy.Context{}); err != nil {
			t.Fatal(err)
		}
		d := msatest.NewDelivery([]byte("Subject: once\r\n\r\nx\r\n"), spellings...)
		for range 2 {
			if err := m.Deliver(t.Context(), d); err != nil {
				t.Fatal(err)
			}
			slices.Reverse(d.Recipients)
		}
		if n := len(stored(t, dir)); n != want {
			t.Errorf("case %q: %d copies, want %d", c, n, want)
		}
	}
	dir := t.TempDir() // of all
	if err := newSink(t, dir).Deliver(t.Context(), msatest.NewDelivery([]byte("x\r\n"), "a@example.org", "A@example.org", "b@example.org")); err != nil {
		t.Fatal(err)
	}
	if n := len(stored(t, dir)); n != 2 {
		t.Errorf("%d copies in one Maildir of two mailboxes", n)
	}
}

// takenOver is a message that another node begins to deliver while it is read.
type takenOver struct {
	*bytes.Reader
	begin func()
}

func (r takenOver) Read(p []byte) (int, error) {
	r.begin()
	return r.Reader.Read(p)
}

// A node that goes on after its lease has ended leaves alone what the next one writes under the same name.
func TestTakenOver(t *testing.T) {
	dir := t.TempDir()
	if err := newSink(t, dir+layout).Deliver(t.Context(), msatest.NewDelivery([]byte("\r\n"), "bob@example.org")); err != nil {
		t.Fatal(err)
	}
	d := msatest.NewDelivery([]byte("\r\nbody\r\n"), "bob@example.org")
	d.Entry.ID = "TAKEN"
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	const maildir = "example.org/bob/Maildir"
	name := new(Maildir).uniqueName(d.Entry, d.Recipients[0])
	tmp := filepath.Join(dir, maildir, "tmp", name)
	err = deliver(t.Context(), root, maildir, name, d.Entry, takenOver{bytes.NewReader([]byte("\r\nbody\r\n")), func() {
		_ = os.Remove(tmp)
		if err := os.WriteFile(tmp, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}})
	if half, readErr := os.ReadFile(tmp); !errors.Is(err, durable.ErrTakenOver) || string(half) != "half" {
		t.Errorf("%v; the other node's file is %q, %v", err, half, readErr)
	}
	_ = os.Remove(tmp)
	if n := len(stored(t, dir)); n != 1 {
		t.Errorf("%d files", n)
	}
}

// What is interrupted keeps what was written.
func TestManyInterrupted(t *testing.T) {
	m := newSink(t, t.TempDir()+"/{msa.recipient.local}")
	d := msatest.NewDelivery([]byte("Subject: many\r\n\r\nx\r\n"), "a@example.org", "b@example.org")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := m.Deliver(ctx, d); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	for _, r := range d.Recipients {
		if said, err := d.Reported(r); said {
			t.Error(r.Address, err)
		}
	}
}

// A message costs the same a recipient, whether to a hundred or to a thousand.
func BenchmarkRecipients(b *testing.B) {
	for _, n := range []int{1, 100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			m := newSink(b, b.TempDir()+"/{msa.recipient.local}")
			var rcpts []string
			for n := range n {
				rcpts = append(rcpts, fmt.Sprintf("user%d@example.org", n))
			}
			for b.Loop() {
				if err := m.Deliver(b.Context(), msatest.NewDelivery([]byte("Subject: many\r\n\r\nx\r\n"), rcpts...)); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*n), "µs/recipient")
		})
	}
}
