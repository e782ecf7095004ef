package policydkim

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/emersion/go-msgauth/dkim"
	"github.com/emersion/go-smtp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
)

var rsaKey = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

func writeKey(t testing.TB, key any) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func newEd25519(t testing.TB) ed25519.PrivateKey {
	t.Helper()
	_, k, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func open(t testing.TB, p *DKIM) *DKIM {
	t.Helper()
	if err := p.Provision(msatest.Context(t)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Cleanup() })
	return p
}

// both has two keys of example.org, and one of the gateway's own.
func both(t testing.TB) *DKIM {
	return open(t, &DKIM{Keys: []*Key{
		{Domain: "example.org", Selector: "rsa", File: writeKey(t, rsaKey())},
		{Domain: "example.org", Selector: "ed", File: writeKey(t, newEd25519(t))},
		{Domain: "bücher.example", Selector: "b", File: writeKey(t, newEd25519(t))},
	}})
}

// verify returns the selectors whose signatures are right.
func verify(t testing.TB, p *DKIM, octets string) (right []string) {
	t.Helper()
	all, err := dkim.VerifyWithOptions(strings.NewReader(octets), &dkim.VerifyOptions{LookupTXT: func(name string) ([]string, error) {
		for _, s := range *p.signers.Load() {
			if name == s.key.Selector+"._domainkey."+s.key.domain {
				return []string{s.record}, nil
			}
		}
		return nil, fmt.Errorf("no record %s", name)
	}})
	if err != nil {
		t.Fatalf("%v\n%.2000s", err, octets)
	}
	for _, v := range all {
		if v.Err != nil {
			t.Logf("%s: %v", v.Domain, v.Err)
			continue
		}
		right = append(right, v.Domain)
	}
	return right
}

func sign(t testing.TB, p *DKIM, octets string, prepended ...string) string {
	t.Helper()
	m := msatest.NewMessage(octets)
	for _, f := range prepended {
		m.Prepend(f)
	}
	if err := p.CheckMessage(context.Background(), msatest.NewSubmission("alice", ""), m); err != nil {
		t.Fatal(err)
	}
	return string(m.Prepended()) + octets
}

func TestSign(t *testing.T) {
	p := both(t)
	for name, octets := range map[string]string{
		"usual":       "From: Alice <alice@example.org>\r\nTo: bob@example.net\r\nSubject: x\r\n\r\nHello\r\n",
		"folded":      "From: Alice\r\n\t<alice@EXAMPLE.org>\r\nSubject: a\r\n  b\r\n\tc\r\n\r\n\r\nHello \t \r\n\r\n\r\n",
		"8 bit":       "From: alice@example.org\r\nSubject: caf\xc3\xa9 \xe9\r\n\r\n\xff\xfe\r\n",
		"no body":     "From: alice@example.org\r\n\r\n",
		"header only": "From: alice@example.org\r\nSubject: x\r\n",
		"no end":      "From: alice@example.org\r\nSubject: x",
		"no newline":  "From: alice@example.org\r\n\r\nHello",
		"two froms":   "From: alice@example.org, bob@example.net\r\nFrom: carol@example.com\r\n\r\nx\r\n",
		"subdomain":   "From: alice@a.b.example.org\r\n\r\nx\r\n",
		"long":        "From: alice@example.org\r\nSubject: " + strings.Repeat("x", 990) + "\r\n\r\n" + strings.Repeat("y", 100_000) + "\r\n",
		"broken line": "From: alice@example.org\r\nno field\r\n more\r\n\r\nx\r\n",
	} {
		signed := sign(t, p, octets, "X-Gateway: one\r\n", "Date: x\r\n")
		if strings.HasPrefix(name, "header") || name == "no end" { // how every reader takes it
			signed = strings.TrimSuffix(signed, "\r\n") + "\r\n\r\n"
		}
		if right := verify(t, p, signed); len(right) != 2 {
			t.Errorf("%s: %v are right\n%.1500s", name, right, signed)
		}
	}
}

// Nobody can add what a reader would show in the place of what was signed.
func TestOversigned(t *testing.T) {
	p := both(t)
	signed := sign(t, p, "From: alice@example.org\r\nSubject: x\r\n\r\nHello\r\n", "Date: today\r\n")
	for _, added := range []string{"From: boss@example.org\r\n", "Subject: y\r\n", "Date: z\r\n", "To: x@example.net\r\n", "Content-Type: text/html\r\n"} {
		if right := verify(t, p, added+signed); len(right) != 0 {
			t.Errorf("%q can be added", added)
		}
	}
	if right := verify(t, p, "Received: from x\r\nX-Other: y\r\n"+signed); len(right) != 2 {
		t.Error("a trace field breaks signatures")
	}
	if right := verify(t, p, strings.Replace(signed, "Date: today", "Date: morrow", 1)); len(right) != 0 {
		t.Error("what an earlier policy put before the message is not signed")
	}
}

func TestWhoSigns(t *testing.T) {
	p := both(t)
	for from, want := range map[string]string{
		"alice@example.org": "example.org example.org", "x@bücher.example": "xn--bcher-kva.example", "x@xn--bcher-kva.example": "xn--bcher-kva.example", "x@example.net": "", "x@notexample.org": "", "nonsense": "", "staff:;": "",
	} {
		signed := sign(t, p, "From: "+from+"\r\n\r\nx\r\n")
		if got := strings.Join(verify(t, p, signed), " "); got != want {
			t.Errorf("%s: signed by %q", from, got)
		}
	}
	own := open(t, &DKIM{Keys: []*Key{{Domain: "gateway.example", Selector: "g", File: writeKey(t, newEd25519(t)), Always: true}}, Expire: conf.Duration(time.Hour), Canonicalization: "simple/simple"})
	signed := sign(t, own, "Subject: from nobody\r\n\r\nx\r\n")
	if !strings.Contains(signed, "c=simple/simple") || !strings.Contains(strings.ReplaceAll(signed, "\r\n ", ""), "; x=") {
		t.Errorf("%s", signed)
	}
}

func TestConformance(t *testing.T) {
	msatest.Policy(t, func(t testing.TB) any { return both(t) }, msatest.PolicyCase{Name: "signed"})
	msatest.Policy(t, func(t testing.TB) any {
		return open(t, &DKIM{Require: true, Keys: []*Key{{Domain: "example.org", Selector: "s", File: writeKey(t, newEd25519(t))}}})
	},
		msatest.PolicyCase{Name: "ours"},
		msatest.PolicyCase{Name: "not ours", Message: "From: x@example.net\r\n\r\n", Code: 550, Status: smtp.EnhancedCode{5, 7, 1}, Rule: "require"})
}

// Each form of canonicalization holds, whatever white space there is.
func TestCanonicalization(t *testing.T) {
	key := writeKey(t, newEd25519(t))
	for _, form := range []string{"simple/simple", "simple/relaxed", "relaxed/simple", "relaxed/relaxed", "relaxed", "simple"} {
		p := open(t, &DKIM{Canonicalization: form, Keys: []*Key{{Domain: "example.org", Selector: "s", File: key}}})
		for _, body := range []string{"", "\r\n", "\r\n\r\n", " \r\n", " ", "x", "x\r\n", "x \t y \r\n \r\n\r\n", "\r\n\r\nx\r\n\t\r\n y\r\n", " x\ty\r\n\r\n"} {
			for _, header := range []string{"Subject: a\r\n", "SUBJECT \t:  a \t b  \r\n\t c \r\n \r\n", "Subject:\r\n", "Subject:\r\n a\r\n", "To: a\r\nTo: b\r\nSubject: x\r\nTo: c\r\n"} {
				octets := "From: alice@example.org\r\n" + header + "\r\n" + body
				if right := verify(t, p, sign(t, p, octets)); len(right) != 1 {
					t.Errorf("%s: %q does not verify", form, octets)
				}
			}
		}
	}
}

// What is to be signed is bounded, and the field is folded.
func TestManyFields(t *testing.T) {
	p := both(t)
	long := open(t, &DKIM{Headers: []string{"From", "To", "X-" + strings.Repeat("x", 50)}, Oversign: []string{}, Keys: []*Key{{Domain: strings.Repeat("a.", 60) + "example.org", Selector: "s", File: writeKey(t, rsaKey()), Always: true}}})
	for n, ok := range map[int]bool{1: true, maxSigned - 1: true, maxSigned: false, 64_000: false} {
		octets := "From: alice@example.org\r\n" + strings.Repeat("To: a\r\n", n) + "\r\nx\r\n"
		for _, p := range []*DKIM{p, long} {
			m := msatest.NewMessage(octets)
			err := p.CheckMessage(context.Background(), msatest.NewSubmission("alice", ""), m)
			r, refused := errors.AsType[*caddymsa.Refusal](err)
			if ok != (err == nil) || !ok && (!refused || r.Code != 554) {
				t.Fatalf("%d fields: %v", n, err)
			}
			for line := range strings.Lines(string(m.Prepended())) {
				if len(line) > foldAt+len("\r\n") && !strings.Contains(line, "d=") {
					t.Errorf("a line of %d octets: %s", len(line), line)
				}
			}
		}
	}
	signed := sign(t, p, "From: alice@example.org\r\n"+strings.Repeat("To: a\r\n", maxSigned-1)+"\r\nx\r\n")
	if right := verify(t, p, signed); len(right) != 2 {
		t.Error(right)
	}
}

// A signature that nobody waits for is not made.
func TestContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	err := both(t).CheckMessage(ctx, msatest.NewSubmission("alice", ""), msatest.NewMessage("From: alice@example.org\r\n\r\nx\r\n"))
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// Of fields that are not signed none is oversigned by default; one that is named is signed too.
func TestOversignNamed(t *testing.T) {
	for _, p := range []*DKIM{{Headers: []string{"From"}}, {Headers: []string{"From"}, Oversign: []string{"Subject"}}} {
		p.Keys = []*Key{{Domain: "example.org", Selector: "s", File: writeKey(t, newEd25519(t))}}
		open(t, p)
		signed := sign(t, p, "From: alice@example.org\r\nSubject: x\r\n\r\nHello\r\n")
		if right := verify(t, p, signed); len(right) != 1 {
			t.Errorf("%q is wrong", signed)
		}
		if right := verify(t, p, "Subject: y\r\n"+signed); (len(right) == 0) != (p.Oversign != nil) {
			t.Errorf("%v: %v", p.Oversign, right)
		}
	}
}

// A key that is replaced signs from then on; one that is broken does not.
func TestReload(t *testing.T) {
	file := writeKey(t, newEd25519(t))
	p := open(t, &DKIM{Keys: []*Key{{Domain: "example.org", Selector: "s", File: file}}})
	before := (*p.signers.Load())[0].record
	if err := os.WriteFile(file, []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.reload()
	if (*p.signers.Load())[0].record != before {
		t.Error("a broken key was taken")
	}
	if err := os.Rename(writeKey(t, newEd25519(t)), file); err != nil {
		t.Fatal(err)
	}
	p.reload()
	if all := p.KeyRecords(); len(all) != 1 || all[0].Domain != "example.org" || all[0].Selector != "s" || all[0].Text == before || !strings.HasPrefix(all[0].Text, "v=DKIM1; k=ed25519; p=") {
		t.Errorf("published are %+v", all)
	}
	if (*p.signers.Load())[0].record == before || len(verify(t, p, sign(t, p, "From: a@example.org\r\n\r\nx\r\n"))) != 1 {
		t.Error("the new key does not sign")
	}
}

// What the log says is what a zone file takes.
func TestRecordName(t *testing.T) {
	p := both(t)
	core, logs := observer.New(zap.InfoLevel)
	p.log = zap.New(core)
	p.reload()
	all := logs.FilterMessage("dkim: publish this record").All()
	if len(all) != 3 || all[2].ContextMap()["name"] != "b._domainkey.xn--bcher-kva.example" {
		t.Errorf("%+v", all)
	}
}

// A placeholder alone is the key; a path may begin with one.
func TestKeyOrFile(t *testing.T) {
	t.Setenv("DKIM_DIR", "/etc/caddy/dkim")
	p := new(DKIM)
	if err := p.UnmarshalCaddyfile(caddyfile.NewTestDispenser("dkim {\n key example.org a {env.DKIM_DIR}/a.pem always\n key example.org b {env.DKIM_KEY}\n key example.org c /etc/{env.DIR}\n}")); err != nil {
		t.Fatal(err)
	}
	if a, b, c := p.Keys[0], p.Keys[1], p.Keys[2]; a.File != "{env.DKIM_DIR}/a.pem" || a.Key != "" || !a.Always || string(b.Key) != "{env.DKIM_KEY}" || b.File != "" || c.File == "" {
		t.Errorf("%+v, %+v, %+v", a, b, c)
	}
	p.Keys = p.Keys[:1]
	if err := p.Provision(msatest.Context(t)); err == nil || !strings.Contains(err.Error(), "/etc/caddy/dkim/a.pem: no such file") {
		t.Error(err)
	}
	_ = p.Cleanup()
}

// A key that stands where its file's path belongs is in no error. In a Caddyfile, where {$DKIM_KEY} becomes what it stands for before
// anybody looks, it is the key.
func TestKeyAsFile(t *testing.T) {
	text, err := os.ReadFile(writeKey(t, newEd25519(t)))
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("DKIM_KEY", string(text))
	p := &DKIM{Keys: []*Key{{Domain: "example.org", Selector: "s", File: "{env.DKIM_KEY}"}}}
	err = p.Provision(msatest.Context(t))
	_ = p.Cleanup()
	if secret := strings.Split(string(text), "\n")[1]; err == nil || strings.Contains(err.Error(), secret) || !strings.Contains(err.Error(), "key 1: file: this is the key itself") {
		t.Error(err)
	}
	p = new(DKIM)
	if err := p.UnmarshalCaddyfile(caddyfile.NewTestDispenser("dkim {\n key example.org s \"" + string(text) + "\"\n}")); err != nil {
		t.Fatal(err)
	}
	if k := p.Keys[0]; k.File != "" || string(k.Key) != string(text) {
		t.Errorf("file %q", k.File)
	}
	open(t, p)
}

func TestBadConfig(t *testing.T) {
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	file := writeKey(t, weak)
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for want, p := range map[string]*DKIM{
		"a key is required":   {},
		"domain and selector": {Keys: []*Key{{Domain: "example.org"}}},
		"not both":            {Keys: []*Key{{Domain: "example.org", Selector: "s", File: file, Key: "x"}}},
		"no such file":        {Keys: []*Key{{Domain: "example.org", Selector: "s", File: "/nonexistent/key"}}},
		"no PEM block":        {Keys: []*Key{{Domain: "example.org", Selector: "s", File: empty}}},
		"neither simple nor":  {Canonicalization: "tight", Keys: []*Key{{Domain: "example.org", Selector: "s", File: file}}},
		"From must be signed": {Headers: []string{"To"}, Keys: []*Key{{Domain: "example.org", Selector: "s", File: file}}},
		"is not a field name": {Headers: []string{"From", "a b"}, Keys: []*Key{{Domain: "example.org", Selector: "s", File: file}}},
		`selector "a b"`:      {Keys: []*Key{{Domain: "example.org", Selector: "a b", File: file}}},
		`domain "http://x"`:   {Keys: []*Key{{Domain: "http://x", Selector: "a", File: file}}},
	} {
		err := p.Provision(msatest.Context(t))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
		_ = p.Cleanup()
	}
}

// The message is a stream: 50 MiB of it leave no trace in memory.
func TestMemory(t *testing.T) {
	p := both(t)
	head := "From: alice@example.org\r\n\r\n"
	const size = 50 << 20
	m := caddymsa.NewMessage(int64(len(head))+size, func() (io.ReadCloser, error) {
		return io.NopCloser(io.MultiReader(strings.NewReader(head), io.LimitReader(lines{}, size))), nil
	})
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	if err := p.CheckMessage(context.Background(), msatest.NewSubmission("alice", ""), m); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapSys) - int64(before.HeapSys); grown > 8<<20 {
		t.Errorf("the heap grew by %d octets", grown)
	}
}

// lines are CRLF lines without end.
type lines struct{}

func (lines) Read(p []byte) (int, error) {
	const line = "0123456789012345678901234567890123456789012345678901234567890123456789\r\n"
	n := 0
	for n < len(p) {
		n += copy(p[n:], line)
	}
	return n, nil
}

func FuzzSign(f *testing.F) {
	p := &DKIM{log: zap.NewNop(), now: time.Now, Keys: []*Key{{Domain: "example.org", Selector: "s", File: writeKey(f, newEd25519(f))}}}
	if err := p.provision(); err != nil {
		f.Fatal(err)
	}
	f.Add("From: alice@example.org\r\n\r\nx\r\n", true, true)
	f.Add("From: a@example.org\r\n : \r\n\t\r\nno\r\n\r\n \r\n", false, true)
	f.Fuzz(func(t *testing.T, octets string, relaxedHeader, relaxedBody bool) {
		p.canonical = canonicalization{relaxedHeader, relaxedBody}
		if strings.ContainsAny(strings.ReplaceAll(octets, "\r\n", ""), "\r\n\x00") {
			return // refused before it comes to policies
		}
		m := msatest.NewMessage(octets)
		if err := p.CheckMessage(context.Background(), msatest.NewSubmission("alice", ""), m); err != nil {
			return
		}
		if _, body, whole := strings.Cut(octets, "\r\n\r\n"); len(m.Prepended()) > 0 && whole && body != "" && octets[0] > ' ' {
			if right := verify(t, p, string(m.Prepended())+octets); len(right) != 1 {
				t.Fatalf("%q does not verify", octets)
			}
		}
	})
}

func BenchmarkSign(b *testing.B) {
	for name, key := range map[string]any{"rsa2048": rsaKey(), "ed25519": newEd25519(b)} {
		p := open(b, &DKIM{Keys: []*Key{{Domain: "example.org", Selector: "s", File: writeKey(b, key)}}})
		for _, size := range []int64{4 << 10, 20 << 20} {
			head := "From: alice@example.org\r\nTo: bob@example.net\r\nSubject: x\r\n\r\n"
			open := func() (io.ReadCloser, error) {
				return io.NopCloser(io.MultiReader(strings.NewReader(head), io.LimitReader(lines{}, size))), nil
			}
			b.Run(fmt.Sprintf("%s/%d", name, size), func(b *testing.B) {
				b.SetBytes(size)
				b.ReportAllocs()
				for b.Loop() {
					if err := p.CheckMessage(context.Background(), msatest.NewSubmission("alice", ""), caddymsa.NewMessage(int64(len(head))+size, open)); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
