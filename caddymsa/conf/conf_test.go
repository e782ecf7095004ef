package conf

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

type module struct {
	Text, Mode      string
	List, Lists     []string
	Flag, On        bool
	Count, None     int
	Size            int64
	Time            Duration
	Off             Duration
	Times           []Duration
	Secret          Secret
	TLS             TLSClient
	Inner           string
	First, Second   string
	Lines           []string
	Messages        int
	Per             Duration
	sizeOfAnotherTy int
}

func (m *module) unmarshal(text string) error {
	d := caddyfile.NewTestDispenser(text)
	d.Next()
	return Block(d, append(m.TLS.Settings(),
		Text("text", &m.Text),
		Word("mode", &m.Mode, "fast", "safe", "slow"),
		List("list", &m.List),
		Lists("lists", &m.Lists),
		Flag("flag", &m.Flag),
		OnOff("on", &m.On),
		Count("count", &m.Count),
		CountOrNone("none", &m.None),
		Sub("bare"),
		CountPer("rate", "messages", &m.Messages, &m.Per),
		Size("size", &m.Size),
		Size("octets", &m.sizeOfAnotherTy),
		Value("time", &m.Time),
		DurationOr("off", &m.Off, "off", -1),
		Durations("times", &m.Times),
		Value("secret", &m.Secret),
		Sub("sub", Text("inner", &m.Inner)),
		Texts("two", "a first and a second", &m.First, &m.Second),
		Each("line", func(d *caddyfile.Dispenser) error { m.Lines = append(m.Lines, d.RemainingArgs()...); return nil }),
	)...)
}

func TestBlock(t *testing.T) {
	var m module
	if err := m.unmarshal(`module {
		text "two words"
		mode safe
		list a b
		lists a b
		lists c
		flag
		on on
		count 3
		size 50MiB
		octets 4096
		time 5d
		off off
		times 1m 2h
		secret {env.X}
		sub {
			inner x
		}
		two 1 2
		line a
		line b
		ca a.pem b.pem
		server_name mail.example.org
	}`); err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprintf("%s %s %v %v %t %t %d %d %d %s %d %v %d %s %s%s %v %v %s", m.Text, m.Mode, m.List, m.Lists, m.Flag, m.On, m.Count, m.Size, m.sizeOfAnotherTy,
		m.Time, m.Off, m.Times, len(m.Secret), m.Inner, m.First, m.Second, m.Lines, m.TLS.CA, m.TLS.ServerName)
	if want := "two words safe [a b] [a b c] true true 3 52428800 4096 120h0m0s -1 [1m0s 2h0m0s] 7 x 12 [a b] [a.pem b.pem] mail.example.org"; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}

func TestParseRange(t *testing.T) {
	for text, want := range map[string][2]int{"1": {1, 1}, "0-1": {0, 1}, "2-5": {2, 5}, "1-": {1, -1}, "0": {0, 0}} {
		if low, high, err := ParseRange(text); err != nil || low != want[0] || high != want[1] {
			t.Errorf("%s: %d, %d, %v", text, low, high, err)
		}
	}
	for _, text := range []string{"", "-", "-1", "--1", "1--1", "5-2", "one", "1-x", "1 - 2", "+1", "1.5", "99999999999999999999"} {
		if low, high, err := ParseRange(text); err == nil {
			t.Errorf("%q: %d, %d", text, low, high)
		}
	}
}

// Each error repeats what was written, says what is expected, and where it is.
func TestBlockErrors(t *testing.T) {
	for block, want := range map[string]string{
		"time 5days":                 `time: "5days" is not a duration (for example 5s, 10m, 1h30m or 5d), at Testfile:2`,
		"time soon":                  `time: "soon" is not a duration`,
		"time 5":                     `time: "5" is not a duration`,
		"time 0s":                    `time: "0s" is not a duration above 0`,
		"time -1h":                   `time: "-1h" is not a duration above 0`,
		"time":                       `time takes one value, at Testfile:2`,
		"time 5 days":                `time takes one value: write 5d, without the space`,
		"time 10 min":                `time takes one value: write 10m, without the space`,
		"size 50 MB":                 `size takes one value: write 50MB, without the space`,
		"size 1,5MB":                 `size: "1,5MB" is not a size`, // it was fifteen
		"size huge":                  `size: "huge" is not a size (for example 4096, 64KiB or 50MB)`,
		"size 0":                     `size: "0" is not a size`,
		"size -1":                    `size: "-1" is not a size`,
		"size 9EB":                   `size: "9EB" is not a size`,
		"count many":                 `count: "many" is not a whole number above 0`,
		"count 0":                    `count: "0" is not a whole number above 0`,
		"count -1":                   `count: "-1" is not a whole number above 0`,
		"count 1.5":                  `count: "1.5" is not a whole number above 0`,
		"count 99999999999999999999": `count: 99999999999999999999 is too large; 1000000000 is the most`,
		"count 1000000001":           `count: 1000000001 is too large`,
		`text ""`:                    `text: a value is empty; leave it out if nothing is meant, or set the variable that it comes from, at Testfile:2`,
		`secret ""`:                  `secret: a value is empty`,
		`list a ""`:                  `list: a value is empty`,
		`lists ""`:                   `lists: a value is empty`,
		`time ""`:                    `time: a value is empty`,
		"count 100 200":              `count takes one value; put quotes around one that has spaces`,
		"text two words":             `text takes one value; put quotes around one that has spaces`,
		"flag yes":                   `flag takes no value`,
		"list":                       `list takes one or more values`,
		"times":                      `times takes one or more durations`,
		"times 1m soon":              `times: "soon" is not a duration`,
		"mode faast":                 `mode: "faast" is not one of fast, safe or slow (did you mean fast?)`,
		"mode odd":                   `mode: "odd" is not one of fast, safe or slow, at`,
		"on yes":                     `on: "yes" is not one of on or off`,
		"off never":                  `off: "never" is not a duration (for example 5s, 10m, 1h30m or 5d), nor off`,
		"two 1":                      `two takes a first and a second`,
		"text a\ntext b":             `text is specified twice, at Testfile:3`,
		"list a\nlist b":             `list is specified twice`,
		"flag\nflag":                 `flag is specified twice`,
		"ca a\nca b":                 `ca is specified twice`,
		"sub {\ninner a\ninner b\n}": `inner is specified twice`,
		"text a {\nx\n}":             `text takes no block`,
		"none 0":                     `none: "0" is not a whole number above 0, nor a negative one for none`,
		"none off":                   `none: "off" is not a whole number above 0, nor a negative one for none`,
		"flag\nbare {\nx\n}":         `unexpected "x": there are no settings; leave the block out`,
		"coumt 3":                    `unknown setting "coumt" (did you mean count?); known settings: ca, server_name`,
		"pigeon":                     `unknown setting "pigeon"; known settings: ca`,
		"rate 10":                    `rate takes a number of messages and a time, as in: rate 100 1m, at Testfile:2`,
		"rate ten 1m":                `rate: "ten" is not a whole number above 0`,
		"rate 0 1m":                  `rate: "0" is not a whole number above 0`,
		"rate 10 minute":             `rate: "minute" is not a duration`,
		"rate 1 1m\nrate 2 1m":       `rate is specified twice, at Testfile:3`,
		"client_certificate a":       `client_certificate takes a certificate file and a key file`,
	} {
		err := new(module).unmarshal("module {\n" + block + "\n}")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v\nwant %s", block, err, want)
		}
	}
	if err := new(module).unmarshal("module value"); err == nil || !strings.Contains(err.Error(), `unexpected "value"`) {
		t.Error(err)
	}
}

// A text that is no duration is an error that says of which setting.
func TestDurationJSONNamesSetting(t *testing.T) {
	var v struct {
		Timeouts struct {
			Command Duration `json:"command"`
		} `json:"timeouts"`
	}
	err := json.Unmarshal([]byte(`{"timeouts":{"command":"banana"}}`), &v)
	if err == nil || !strings.Contains(err.Error(), `"banana", which is not a duration (for example 5s, 10m, 1h30m or 5d)`) || !strings.Contains(err.Error(), "timeouts.command") {
		t.Error(err)
	}
}

func TestDurationJSON(t *testing.T) {
	var d Duration
	for text, want := range map[string]time.Duration{`"5d"`: 120 * time.Hour, `"-1s"`: -time.Second, `1000000000`: time.Second, `-1`: -1} {
		if err := json.Unmarshal([]byte(text), &d); err != nil || time.Duration(d) != want {
			t.Errorf("%s: %v, %v", text, d, err)
		}
	}
	for _, text := range []string{"1", "300", "432000"} { // seconds are what was meant
		if err := json.Unmarshal([]byte(text), &d); err == nil || !strings.Contains(err.Error(), text+`, which counts nanoseconds; write a text with a unit, such as "`+text+`s"`) {
			t.Errorf("%s: %v, %v", text, d, err)
		}
	}
	err := json.Unmarshal([]byte(`"5days"`), &d)
	if err == nil || !strings.Contains(err.Error(), `"5days", which is not a duration`) || strings.Contains(err.Error(), "120h") {
		t.Error(err)
	}
}

func FuzzDuration(f *testing.F) {
	for _, s := range []string{"5s", "5days", "1d2h", "d", "-1d", "9999999999d", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var d Duration
		if err := d.UnmarshalText([]byte(s)); err == nil && d <= 0 {
			t.Errorf("%q: %s", s, d)
		}
	})
}

func TestSecretIsNotPrinted(t *testing.T) {
	resolved := NewResolved("hunter2")
	v := struct {
		Key Secret
		In  Resolved
	}{"hunter2", resolved}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		if text := fmt.Sprintf(verb, v); strings.Contains(text, "hunter2") || strings.Contains(text, "68756e") {
			t.Errorf("%s shows %s", verb, text)
		}
	}
	if b, _ := json.Marshal(v); string(b) != `{"Key":"hunter2","In":"REDACTED"}` {
		t.Errorf("%s", b)
	}
	core := zapcore.NewJSONEncoder(zapcore.EncoderConfig{})
	buf, err := core.EncodeEntry(zapcore.Entry{}, []zapcore.Field{zap.Any("a", v.Key), zap.Any("b", resolved), zap.Error(fmt.Errorf("with %s", v.Key)), zap.Any("c", []Resolved{resolved})})
	if err != nil || strings.Contains(buf.String(), "hunter2") {
		t.Errorf("%v: %s", err, buf)
	}
}

// A literal secret warns, whatever it is; one behind a placeholder never does, even if its value is a
// word that stands in the configuration by chance.
func TestSecretResolve(t *testing.T) {
	t.Setenv("SECRET_TEST", "s3cret\n")
	t.Setenv("SECRET_BRACES", "{env.SECRET_BRACES}")
	core, logs := observer.New(zap.WarnLevel)
	for s, want := range map[Secret]int{"{env.SECRET_TEST}": 0, "s3cret": 1, "": 0, "{env.SECRET_BRACES}": 0, "a{b": 1} {
		r, err := s.Resolve("key", zap.New(core))
		if err != nil || strings.HasSuffix(string(s), "TEST}") && r() != "s3cret" {
			t.Error(s, err)
		}
		if n := logs.TakeAll(); len(n) != want {
			t.Errorf("%q: %d warnings", string(s), len(n))
		}
	}
	_, err := Secret("{no.such.thing}").Resolve("key", zap.NewNop())
	if err == nil || !strings.Contains(err.Error(), "key") {
		t.Error(err)
	}
}

func TestRedact(t *testing.T) {
	for secret, want := range map[string]string{
		"a":                             "authentication of msa failed: timeout, error 500",
		"msa":                           "authentication of msa failed: timeout, error 500",
		"500":                           "authentication of msa failed: timeout, error 500",
		"timeout":                       "authentication of msa failed: timeout, error 500",
		"authentication":                "authentication of msa failed: timeout, error 500",
		"":                              "authentication of msa failed: timeout, error 500",
		"8Hd2kd93kd":                    "authentication of msa failed: timeout, error 500",
		"of msa failed: timeout, error": "authentication REDACTED 500",
	} {
		if got := Redact("authentication of msa failed: timeout, error 500", NewResolved(secret)); got != want {
			t.Errorf("%q: %s", secret, got)
		}
	}
	if got := Redact("no user msa:db@db", NewResolved("db")); got != "no user msa:REDACTED@db" {
		t.Error(got)
	}
	if got := Redact("bad token 8Hd2kd93kd, of 8Hd2kd93kd", NewResolved("8Hd2kd93kd"), nil); got != "bad token REDACTED, of REDACTED" {
		t.Error(got)
	}
}

func TestIsLoopback(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "LocalHost": true, "127.0.0.1": true, "127.9.9.9": true, "::1": true, "[::1]": true, "::ffff:127.0.0.1": true,
		"": false, "example.org": false, "10.0.0.1": false, "localhost.example.org": false, "::": false, "0.0.0.0": false,
	} {
		if IsLoopback(host) != want {
			t.Error(host)
		}
	}
}

func TestTLSClientErrors(t *testing.T) {
	for want, c := range map[string]TLSClient{
		"go together":         {ClientKey: "k.pem"},
		"ca: open no.pem":     {CA: []string{"no.pem"}},
		"holds no certificat": {CA: []string{"conf_test.go"}},
		"client_certificate:": {ClientCertificate: "no.pem", ClientKey: "no.key"},
	} {
		if _, err := c.Config(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	c, err := new(TLSClient).Config()
	if err != nil || c.RootCAs != nil {
		t.Error(err)
	}
}

func TestDidYouMean(t *testing.T) {
	words := []string{"maildir", "relay", "rate_limit", "pipe"}
	for name, want := range map[string]string{"maildri": "maildir", "Maildir": "maildir", "rate": "rate_limit", "relays": "relay", "relya": "relay", "pigeon": "", "x": "", "": ""} {
		got := DidYouMean(name, words)
		if want != "" {
			want = " (did you mean " + want + "?)"
		}
		if got != want {
			t.Errorf("%q: %q", name, got)
		}
	}
}

// issue 10.29: what editors leave in the file of a secret is no part of it, or an error.
func TestSecretFile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "secret")
	for text, want := range map[string]string{
		"\ufeffs3cret\r\n": "s3cret", "s3cret \t\n": "s3cret", "\u00a0s3cret\u00a0\n\n": "s3cret", "s3 cret": "s3 cret", "s3cret,": "s3cret,",
		"\xff\xfes\x003\x00": "", "s\x003\x00": "",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := Secret("{file."+file+"}").Resolve("key", zap.NewNop())
		if (err != nil) != (want == "") || r.Value() != want {
			t.Errorf("%q: %q, %v", text, r.Value(), err)
		}
	}
}

// issue 10.29: a byte order mark costs no certificate.
func TestRootsWithByteOrderMark(t *testing.T) {
	t.Parallel()
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, append([]byte("\ufeff"), cert...), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Roots([]string{file}); err != nil {
		t.Error(err)
	}
}
