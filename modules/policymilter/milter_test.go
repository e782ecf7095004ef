package policymilter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/d--j/go-milter"
	"github.com/emersion/go-smtp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// filter notes what it is told, and answers by the words that it finds.
type filter struct {
	milter.NoOpMilter
	mu   *sync.Mutex
	told *[]string
	body strings.Builder
}

func (f *filter) say(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	*f.told = append(*f.told, fmt.Sprintf(format, args...))
}

func answer(word string) (*milter.Response, error) {
	switch {
	case strings.Contains(word, "reject"):
		return milter.RespReject, nil
	case strings.Contains(word, "tempfail"):
		return milter.RespTempFail, nil
	case strings.Contains(word, "discard"):
		return milter.RespDiscard, nil
	case strings.Contains(word, "take"):
		return milter.RespAccept, nil
	case strings.Contains(word, "code"):
		return milter.RejectWithCodeAndReason(554, "5.6.0 Bad\n5.6.0 content")
	}
	return milter.RespContinue, nil
}

func (f *filter) Connect(host, family string, _ uint16, addr string, m milter.Modifier) (*milter.Response, error) {
	f.say("connect %s %s %s j=%s auth=%s client=%s", host, family, addr, m.Get(milter.MacroMTAFQDN), m.Get(milter.MacroAuthAuthen), m.Get(milter.MacroClientAddr))
	return milter.RespContinue, nil
}

func (f *filter) Helo(name string, m milter.Modifier) (*milter.Response, error) {
	f.say("helo %s %s %s %s", name, m.Get(milter.MacroTlsVersion), m.Get(milter.MacroCipher), m.Get(milter.MacroCipherBits))
	return milter.RespContinue, nil
}

func (f *filter) MailFrom(from, args string, m milter.Modifier) (*milter.Response, error) {
	f.say("mail %s %s auth=%s client=%s", from, args, m.Get(milter.MacroAuthAuthen), m.Get(milter.MacroClientAddr))
	return answer(from)
}

func (f *filter) RcptTo(to, _ string, m milter.Modifier) (*milter.Response, error) {
	f.say("rcpt %s %s", to, m.Get(milter.MacroRcptAddr))
	return answer(to)
}

func (f *filter) Header(name, value string, _ milter.Modifier) (*milter.Response, error) {
	f.say("header %q %q", name, value)
	return milter.RespContinue, nil
}

func (f *filter) BodyChunk(chunk []byte, _ milter.Modifier) (*milter.Response, error) {
	f.body.Write(chunk)
	return milter.RespContinue, nil
}

func (f *filter) EndOfMessage(m milter.Modifier) (*milter.Response, error) {
	body := f.body.String()
	f.body.Reset()
	f.say("end i=%s %d octets %.20q", m.Get(milter.MacroQueueId), len(body), body)
	var errs []error
	if strings.Contains(body, "add") {
		errs = append(errs, m.AddHeader("X-Added", "one\n two"), m.InsertHeader(0, "X-First", "1"))
	}
	if strings.Contains(body, "change") {
		errs = append(errs, m.ChangeHeader(1, "Subject", "other"), m.ReplaceBody(strings.NewReader("other")), m.ChangeFrom("x@example.net", ""), m.DeleteRecipient("<bob@example.net>"))
	}
	if strings.Contains(body, "hold") {
		errs = append(errs, m.Quarantine("suspicious"))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	r, err := answer(body)
	if r == milter.RespContinue {
		r = milter.RespAccept
	}
	return r, err
}

// start runs a milter and returns its address and what it is told.
func start(t testing.TB) (address string, told func() string) {
	t.Helper()
	var mu sync.Mutex
	var all []string
	socket := filepath.Join(t.TempDir(), "milter.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := milter.NewServer(milter.WithMilter(func() milter.Milter { return &filter{mu: &mu, told: &all} }), milter.WithActions(milter.AllClientSupportedActionMasks))
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close() })
	return "unix/" + socket, func() string {
		mu.Lock()
		defer mu.Unlock()
		text := strings.Join(all, "\n")
		all = nil
		return text
	}
}

// Fields that a milter adds are taken as they are, or made to fit.
func TestField(t *testing.T) {
	words := strings.Repeat("abc def, ", 150)
	for _, tt := range []struct{ name, value, want string }{
		{"X-A", "b", "X-A: b\r\n"},
		{"X-A", " b", "X-A: b\r\n"},
		{"X-A", "", "X-A:\r\n"},
		{"X-A", " ", "X-A:\r\n"},
		{"X-A", "b\n c\r\n\td\n", "X-A: b\r\n c\r\n\td\r\n"},
		{"X-A", "b\nc\n\n \nd", "X-A: b\r\n\tc\r\n\td\r\n"},
		{"X-A", "\n b", "X-A:\r\n b\r\n"},
		{"X-A", "b\rc", ""},
		{"X-A", "b\x00c", ""},
		{"X A", "b", ""},
		{"X:A", "b", ""},
		{"", "b", ""},
		{"X-A", strings.Repeat("x", 1000), ""},
		{"X-A", strings.Repeat("x", 990), "X-A: " + strings.Repeat("x", 990) + "\r\n"},
		{"X-A", "a " + strings.Repeat("x", 995), "X-A: a\r\n " + strings.Repeat("x", 995) + "\r\n"},
		{strings.Repeat("x", 1000), "b", ""},
	} {
		got, ok := field(tt.name, tt.value)
		if ok != (tt.want != "") || got != tt.want {
			t.Errorf("%.20s: %.40q: %.80q, want %.80q", tt.name, tt.value, got, tt.want)
		}
	}
	long, ok := field("X-Long", words)
	if unfolded := strings.ReplaceAll(long, "\r\n ", " "); !ok || strings.TrimSpace(unfolded) != "X-Long: "+strings.TrimSpace(words) {
		t.Errorf("%q", long)
	}
	for line := range strings.Lines(long) {
		if len(line) > foldAt+2 {
			t.Errorf("a line of %d octets", len(line))
		}
	}
}

// The time that a fold takes grows with the line, not with its square.
func TestFoldBlankEnd(t *testing.T) {
	words, began := strings.Repeat("abcdefg ", 300_000), time.Now()
	got, ok := field("X-Long", words+strings.Repeat(" ", 2<<20))
	if !ok || strings.ReplaceAll(got, "\r\n", "") != "X-Long: "+strings.TrimSpace(words) {
		t.Errorf("%v, %d octets", ok, len(got))
	}
	if took := time.Since(began); took > 15*time.Second { // it was minutes
		t.Errorf("it took %v", took)
	}
}

func FuzzField(f *testing.F) {
	f.Add("X-A", "b\n c\r\n d")
	f.Add("X-A", strings.Repeat("abc ", 300))
	f.Fuzz(func(t *testing.T, name, value string) {
		text, ok := field(name, value)
		if !ok {
			return
		}
		for i, line := range strings.SplitAfter(strings.TrimSuffix(text, "\r\n"), "\r\n") {
			line = strings.TrimSuffix(line, "\r\n")
			if len(line) > maxLine || strings.ContainsAny(line, "\r\n\x00") || i > 0 && (strings.TrimSpace(line) == "" || line[0] != ' ' && line[0] != '\t') {
				t.Fatalf("%q: %q", value, text)
			}
		}
	})
}

// Names are OpenSSL's, as Postfix gives them.
func TestTLSNames(t *testing.T) {
	for text, want := range map[string]string{
		"TLS1.3 TLS_AES_128_GCM_SHA256":                        "TLSv1.3 TLS_AES_128_GCM_SHA256 128",
		"TLS 1.3 TLS_CHACHA20_POLY1305_SHA256":                 "TLSv1.3 TLS_CHACHA20_POLY1305_SHA256 256",
		"TLS1.2 TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256":         "TLSv1.2 ECDHE-RSA-AES128-GCM-SHA256 128",
		"TLS1.2 TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "TLSv1.2 ECDHE-ECDSA-CHACHA20-POLY1305 256",
		"TLS1.2 TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA":            "TLSv1.2 ECDHE-RSA-AES256-SHA 256",
		"TLS1.2 TLS_RSA_WITH_AES_128_GCM_SHA256":               "TLSv1.2 AES128-GCM-SHA256 128",
		"":                                                     "  ",
	} {
		version, cipher := tlsNames(text)
		if got := version + " " + cipher + " " + cipherBits(cipher); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

// A connection that is not made ends with the context.
func TestDialHeedsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	p := open(t, &Milter{Address: "192.0.2.1:1"})
	if _, err := p.dialer.dial(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func open(t testing.TB, p *Milter) *Milter {
	t.Helper()
	p.ConnectTimeout, p.Timeout = cmp.Or(p.ConnectTimeout, conf.Duration(time.Minute)), cmp.Or(p.Timeout, conf.Duration(time.Minute)) // a busy machine may not keep the default
	if err := p.Provision(msatest.Context(t)); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestConformance(t *testing.T) {
	address, _ := start(t)
	msatest.Policy(t, func(t testing.TB) any { return open(t, &Milter{Address: address}) },
		msatest.PolicyCase{Name: "accepted"},
		msatest.PolicyCase{Name: "sender", Sender: "reject@example.org", Code: 550, Status: smtp.EnhancedCode{5, 7, 1}, Rule: "reject"},
		msatest.PolicyCase{Name: "recipient", Recipients: []string{"bob@example.net", "tempfail@example.net"}, Code: 451, Status: smtp.EnhancedCode{4, 7, 1}, Rule: "tempfail"},
		msatest.PolicyCase{Name: "message", Message: "Subject: x\r\n\r\ncode\r\n", Code: 554, Status: smtp.EnhancedCode{5, 6, 0}, Rule: "reply"},
		msatest.PolicyCase{Name: "discarded", Message: "Subject: x\r\n\r\ndiscard\r\n", Code: 550, Status: smtp.EnhancedCode{5, 7, 1}, Rule: "discard"},
		msatest.PolicyCase{Name: "taken", Sender: "take@example.org", Message: "Subject: x\r\n\r\nreject\r\n"},
		msatest.PolicyCase{Name: "added", Message: "Subject: x\r\n\r\nadd\r\n"},
	)
}

// The milter is told all, in the order and with the macros that it expects.
func TestConversation(t *testing.T) {
	address, told := start(t)
	p := open(t, &Milter{Address: address})
	s := msatest.NewSubmission("alice", "alice@example.org")
	s.DeclaredSize, s.Entry.Body = 99, "8BITMIME"
	m := msatest.NewMessage("Subject: a\r\n\tb\r\nno field\r\nX:y\r\nX-Empty:\r\nX-Blank: \r\n\r\n\r\nbody\r\n")
	m.Prepend("X-Before: 1\r\n")
	if err := msatest.Submit(context.Background(), p, s, []string{"bob@example.net", `"a b"@example.net`}, m); err != nil {
		t.Fatal(err)
	}
	s.End(true)
	want := strings.Join([]string{
		"connect [192.0.2.7] tcp4 192.0.2.7 j=msa.example.org auth= client=192.0.2.7", "helo client.example.org TLSv1.3 TLS_AES_128_GCM_SHA256 128", "mail alice@example.org SIZE=99 BODY=8BITMIME auth=alice client=192.0.2.7",
		"rcpt bob@example.net bob@example.net", `rcpt "a b"@example.net "a b"@example.net`,
		`header "X-Before" "1"`, `header "Subject" "a\n\tb"`, `header "X" "y"`, `header "X-Empty" ""`, `header "X-Blank" ""`, `end i=01TEST 8 octets "\r\nbody\r\n"`,
	}, "\n")
	if got := told(); got != want {
		t.Errorf("told:\n%s\nwant:\n%s", got, want)
	}
	// The message alone, whose policy had to wait for it: the same.
	s = msatest.NewSubmission("alice", "")
	s.Entry.Recipients = []queue.Recipient{{Address: "bob@example.net"}}
	if err := p.CheckMessage(context.Background(), s, msatest.NewMessage("Subject: x\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	s.End(true)
	if got := told(); !strings.Contains(got, "mail  ") || !strings.Contains(got, "rcpt bob@example.net") || !strings.HasSuffix(got, `0 octets ""`) {
		t.Errorf("told:\n%s", got)
	}
}

func end(p *Milter, body string) (*caddymsa.Submission, *caddymsa.Message, error) {
	s, m := msatest.NewSubmission("alice", "alice@example.org"), msatest.NewMessage("Subject: x\r\n\r\n"+body)
	err := msatest.Submit(context.Background(), p, s, []string{"bob@example.net"}, m)
	s.End(err == nil)
	return s, m, err
}

// What is added goes before the message, what is changed is not, and what is to be held is.
func TestChanges(t *testing.T) {
	address, _ := start(t)
	p := open(t, &Milter{Address: address})
	if _, m, err := end(p, "add\r\n"); err != nil || string(m.Prepended()) != "X-Added: one\r\n two\r\nX-First: 1\r\n" {
		t.Errorf("%q, %v", m.Prepended(), err)
	}
	if s, m, err := end(p, "change\r\n"); err != nil || len(m.Prepended()) > 0 || s.Entry.Sender != "alice@example.org" || len(s.Entry.Recipients) != 1 {
		t.Errorf("%q, %v", m.Prepended(), err)
	}
	if s, _, err := end(p, "hold\r\n"); err != nil || !strings.HasSuffix(s.Held, ": suspicious") {
		t.Errorf("held %q, %v", s.Held, err)
	}
	for onChange, code := range map[string]int{"tempfail": 451, "refuse": 554} {
		_, _, err := end(open(t, &Milter{Address: address, OnChange: onChange}), "change\r\n")
		if r, ok := errors.AsType[*caddymsa.Refusal](err); !ok || r.Code != code {
			t.Errorf("%s: %v", onChange, err)
		}
	}
	if _, _, err := end(p, strings.Repeat("x", 5*chunk+7)); err != nil {
		t.Error(err)
	}
}

// What a milter says is a line in the log and in the spool, however long it is and whatever is in it.
func TestChangesBounded(t *testing.T) {
	core, logs := observer.New(zap.WarnLevel)
	p := &Milter{Address: "127.0.0.1:1", OnChange: changeIgnore, log: zap.New(core)}
	changes := []milter.ModifyAction{{Type: milter.ActionQuarantine, Reason: "looks like\r\n verdächtig\x1b[1m" + strings.Repeat("x", 100_000)}}
	for i := range 1000 {
		changes = append(changes, milter.ModifyAction{Type: milter.ActionAddHeader, HeaderName: fmt.Sprint(i, "\n", strings.Repeat("y", 10_000))})
	}
	s := msatest.NewSubmission("alice", "alice@example.org")
	if err := p.change(s, msatest.NewMessage("x"), changes); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(s.Held, "quarantined by milter 127.0.0.1:1: looks like verdächtig [1mxxx") || len(s.Held) > 1000 {
		t.Errorf("held %.200q, %d octets", s.Held, len(s.Held))
	}
	if all := logs.All(); len(all) != 1 {
		t.Errorf("%d lines in the log", len(all))
	} else if said := fmt.Sprint(all[0].ContextMap()["changes"]); len(said) > 12_000 || !strings.Contains(said, "add malformed field 0 yyy") || !strings.Contains(said, "980 more") || strings.Contains(said, "\n") {
		t.Errorf("%d octets: %.2000s", len(said), said)
	}
}

// A milter that is down, hangs or talks nonsense is a failure, within its time; so is one that goes in
// the middle.
func TestFailures(t *testing.T) {
	hang := make(chan struct{})
	defer close(hang)
	for name, serve := range map[string]func(net.Conn){
		"down": nil, "closes": func(c net.Conn) { _ = c.Close() }, "hangs": func(net.Conn) { <-hang },
		"nothing":  func(c net.Conn) { _, _ = c.Write([]byte{0, 0, 0, 0}) },
		"much":     func(c net.Conn) { _, _ = c.Write([]byte{0x10, 0, 0, 0, 'O'}) },
		"nonsense": func(c net.Conn) { _, _ = io.WriteString(c, strings.Repeat("220 hello\r\n", 100)) },
	} {
		address := "unix/" + filepath.Join(t.TempDir(), "none.sock")
		if serve != nil {
			l, err := net.Listen("unix", strings.TrimPrefix(address, "unix/"))
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					go serve(c)
				}
			}()
		}
		for onFailure, want := range map[string]int{"": 0, "refuse": 554, "accept": 250} {
			p := open(t, &Milter{Address: address, OnFailure: onFailure, Timeout: conf.Duration(200 * time.Millisecond)})
			began := time.Now()
			_, _, err := end(p, "x")
			r, refused := errors.AsType[*caddymsa.Refusal](err)
			if want == 250 && err != nil || want == 554 && (!refused || r.Code != 554) || want == 0 && (err == nil || refused) {
				t.Errorf("%s, on_failure %q: %v", name, onFailure, err)
			}
			if took := time.Since(began); took > 30*time.Second {
				t.Errorf("%s took %v", name, took)
			}
		}
	}
}

// No packet takes more memory than a milter has use for, and one without a code is none.
func TestPackets(t *testing.T) {
	for _, tt := range []struct {
		sent string
		ok   bool
	}{
		{"\x00\x00\x00\x01c\x00\x00\x00\x03abc", true},
		{"\x00\x00\x00\x01c\x00\x00\x00\x00", false},
		{"\x00\x10\x00\x00" + strings.Repeat("x", 1<<20), true},
		{"\x00\x10\x00\x01" + strings.Repeat("x", 1<<20), false},
	} {
		near, far := net.Pipe()
		go func() {
			_, _ = io.WriteString(far, tt.sent)
			_ = far.Close()
		}()
		got, err := io.ReadAll(&conn{Conn: near})
		if (err == nil) != tt.ok || tt.ok && string(got) != tt.sent {
			t.Errorf("%.20q: %d of %d octets, %v", tt.sent, len(got), len(tt.sent), err)
		}
		_ = near.Close()
	}
}

func TestBadConfig(t *testing.T) {
	for _, p := range []*Milter{{}, {Address: "udp/127.0.0.1:1"}, {Address: "127.0.0.1"}, {Address: "127.0.0.1:1", OnChange: "x"}, {Address: "127.0.0.1:1", OnFailure: "x"}, {Address: "127.0.0.1:1", Timeout: -1}} {
		if err := p.Provision(msatest.Context(t)); err == nil {
			t.Errorf("%+v: no error", p)
		}
	}
}

// A text stays as it is, less its status.
func TestReplyText(t *testing.T) {
	for reply, want := range map[string]string{
		"550 5.6.0 no": "no", "550 5.1.2.3 is on a list": "5.1.2.3 is on a list", "550-5.7.1 no\r\n550-5.7.1 way\r\n550 5.7.10 ways": "no way 5.7.10 ways",
		"550 5.07.1 no": "no",
	} {
		if r, _ := errors.AsType[*caddymsa.Refusal](refusal(550, reply)); r.Text != want {
			t.Errorf("%s: %q", reply, r.Text)
		}
	}
}

// A status that is none is not passed on.
func TestReplyStatus(t *testing.T) {
	for reply, want := range map[string]smtp.EnhancedCode{
		"550 5.6.0 no": {5, 6, 0}, "550 no": {5, 7, 1}, "550 4.6.0 no": {5, 7, 1}, "550 5.-7.1 no": {5, 7, 1}, "550 5.7.1000 no": {5, 7, 1}, "550 5.1000.1 no": {5, 7, 1},
	} {
		if r, _ := errors.AsType[*caddymsa.Refusal](refusal(550, reply)); r.Status != want {
			t.Errorf("%s: %v", reply, r.Status)
		}
	}
}

func FuzzReply(f *testing.F) {
	f.Add(554, "554 5.7.1 no")
	f.Add(421, "421-4.3.2 a\r\n421 4.3.2 b")
	f.Fuzz(func(t *testing.T, code int, reply string) {
		if code < 400 || code > 599 {
			return
		}
		r, _ := errors.AsType[*caddymsa.Refusal](refusal(code, reply))
		if r.Code == 421 || r.Code/100 != r.Status[0] {
			t.Fatalf("%+v", r)
		}
	})
}

func BenchmarkMilter(b *testing.B) {
	address, _ := start(b)
	p := open(b, &Milter{Address: address})
	body := strings.Repeat("x", 4<<10)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := end(p, body); err != nil {
			b.Fatal(err)
		}
	}
}
