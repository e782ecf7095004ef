package passwd

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddy-msa/caddy-msa/caddymsa/names"
	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
)

func parseTable(t *testing.T, text string) *Table {
	t.Helper()
	table, err := Parse(strings.NewReader(text), names.Folded)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func empty(t *testing.T) *Table {
	t.Helper()
	table, err := NewTable(nil, names.Folded)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func TestParse(t *testing.T) {
	table := parseTable(t, "\ufeff# users\r\n\r\n   \nalice:{PLAIN}a\r\nbob:{PLAIN}b\n#carol:{PLAIN}c\ndave:{PLAIN}d")
	var all []string
	for u := range table.All() {
		all = append(all, u.Name)
		if !verifies(t, u, u.Name[:1]) {
			t.Errorf("%v", u)
		}
	}
	if strings.Join(all, " ") != "alice bob dave" || table.Len() != 3 || table.Lookup("bob").Name != "bob" || table.Lookup("carol") != nil {
		t.Error(all)
	}
	for text, want := range map[string]string{
		"a:{PLAIN}x\n\n#\nb:oops\n":                 "line 4: user \"b\"",
		"a:{PLAIN}x\n#\nb:{PLAIN}x\na:{PLAIN}y\n":   `line 4: user "a" is the same as in line 1`,
		"a:{PLAIN}x\n" + strings.Repeat("y", 70000): "line 2: longer",
		strings.Repeat("y", MaxLine+1) + "\n":       "line 1: longer",
		"ﬁ:{PLAIN}x\nfi:{PLAIN}x":                   "line 2: ",
		"a@x:{PLAIN}x\nb:\nA@X:{PLAIN}x":            `line 3: user "A@X" is the same as "a@x" in line 1; delete one, or set case exact`,
		"":                                          "line 1: the file ends and has no users",
		"# users\n\n":                               "line 3: the file ends and has no users",
	} {
		if _, err := Parse(strings.NewReader(text), names.Folded); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%.20q: %v", text, err)
		}
	}
	if _, err := NewTable([]User{{Name: "a"}, {Name: "b"}, {Name: "a"}}, names.Folded); err == nil || !strings.HasPrefix(err.Error(), "user 3") {
		t.Error(err)
	}
	if table := parseTable(t, "ﬁ:{PLAIN}ﬁ"); table.Lookup("fi") == nil || !verifies(t, table.Lookup("fi"), "fi") || !verifies(t, table.Lookup("ﬁ"), "ﬁ") {
		t.Error("SASLprep form of name and password")
	}
	prepared, err := sasl.PrepareQuery("😀²") // Unicode 3.2 had no such faces, and clients have
	if table := parseTable(t, "😀²:{PLAIN}😀²"); err != nil || table.Lookup(prepared) == nil || !verifies(t, table.Lookup(prepared), prepared) {
		t.Errorf("name and password of characters that are newer than SASLprep: %v", err)
	}
}

var (
	testKey  = []byte("0123456789abcdef0123456789abcdef")
	loopback = netip.MustParseAddr("127.0.0.1")
)

// who may not log in is nil, for whatever reason.
func TestCheck(t *testing.T) {
	table := parseTable(t, `alice:{PLAIN}secret
bob:{PLAIN}secret::::::nologin
carol:{PLAIN}secret::::::allow_nets=192.0.2.1
dave:
eve:{PLAIN}one {PLAIN}two
`)
	for _, tc := range []struct {
		name, password string
		want           bool
	}{
		{"alice", "secret", true}, {"alice", "Secret", false}, {"alice", "", false}, {"Alice", "secret", true},
		{"bob", "secret", false}, {"carol", "secret", false}, {"dave", "", false}, {"dave", "secret", false},
		{"eve", "one", true}, {"eve", "two", true}, {"eve", "three", false}, {"nobody", "secret", false}, {"", "", false},
		{"alice", strings.Repeat("x", 100000), false},
	} {
		u, err := table.Check(t.Context(), testKey, tc.name, tc.password, loopback)
		if err != nil || (u != nil) != tc.want || u != nil && u != table.Lookup(tc.name) {
			t.Errorf("%s, %.20q: %v, %v", tc.name, tc.password, u, err)
		}
	}
	if u, _ := table.Check(t.Context(), testKey, "carol", "secret", netip.MustParseAddr("192.0.2.1")); u == nil {
		t.Error("carol is refused")
	}
	if u, err := empty(t).Check(t.Context(), testKey, "a", "", loopback); u != nil || err != nil {
		t.Error("an empty table lets somebody in")
	}
}

// decoys are as real users are, and let nobody in.
func TestDecoy(t *testing.T) {
	var text strings.Builder
	for i := range 90 {
		fmt.Fprintf(&text, "sha%d:{SHA512-CRYPT}%s\n", i, shaCrypt512.generate("6", "pw", []byte{byte(i)}, 1000))
	}
	for i := range 10 {
		s, err := Generate("SCRAM-SHA-256", "x", "pw", Options{Rounds: 4097 + i%2})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&text, "scram%d:%s {PLAIN}pw\n", i, s)
	}
	text.WriteString("off:{PLAIN}pw::::::nologin\nnone:\n")
	table := parseTable(t, text.String())

	count := map[string]int{}
	changed := 0
	fewer := parseTable(t, strings.Replace(text.String(), "sha1:", "#", 1))
	for i := range 1000 {
		name := fmt.Sprintf("nobody%d", i)
		d := table.Decoy(testKey, name)
		key := ""
		for _, c := range d.Credentials {
			key += c.method().cost() + ";"
		}
		count[key]++
		if again := table.Decoy(testKey, name); &again.Credentials[0] != &d.Credentials[0] {
			t.Fatal("two decoys for a name")
		}
		if other := fewer.Decoy(testKey, name); other.Credentials[0].method().cost() != d.Credentials[0].method().cost() {
			changed++
		}
	}
	if n := count["SHA512-CRYPT 1000;"]; n < 850 || n > 950 || len(count) != 3 {
		t.Errorf("not the shares of the table: %v", count)
	}
	if changed > 10 {
		t.Errorf("%d of 1000 decoys changed with one user less", changed)
	}
	for i := range 20 {
		d := table.Decoy(testKey, fmt.Sprint(i))
		if ok, err := d.Verify("pw"); ok || err != nil {
			t.Errorf("a decoy lets somebody in: %v", err)
		}
		if _, ok := d.Plain(); ok {
			t.Error("a decoy gives a password away")
		}
	}
	if table.Decoy(testKey, "a").Credentials == nil || empty(t).Decoy(testKey, "a").Credentials != nil {
		t.Error("decoy credentials")
	}
}

// A decoy runs every credential, though the first fits.
func TestDecoyCost(t *testing.T) {
	var runs int
	m := countingMethod{&runs}
	u := &User{Name: "a", Credentials: []Credential{newCredential("X", "", m), newCredential("X", "", m), newCredential("X", "", m)}}
	_, _ = u.Verify("right")
	if runs != 1 {
		t.Errorf("right: %d checks", runs)
	}
	for who, u := range map[string]*User{"user": u, "decoy": {Credentials: u.Credentials, decoy: true}} {
		runs = 0
		_, _ = u.Verify("wrong")
		if runs != 3 {
			t.Errorf("%s: %d checks", who, runs)
		}
	}
	runs = 0
	_, _ = (&User{Credentials: u.Credentials, decoy: true}).Verify("right")
	if runs != 3 {
		t.Errorf("decoy, right: %d checks", runs)
	}
}

// Memory is bounded: a check that needs much of it waits, no longer than its context.
func TestMemorySlots(t *testing.T) {
	s, err := Generate("ARGON2ID", "a", "pw", Options{Memory: 64})
	if err != nil {
		t.Fatal(err)
	}
	table := parseTable(t, "a:"+s)
	for range cap(memorySlots) {
		memorySlots <- struct{}{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, name := range []string{"a", "nobody"} {
		if u, err := table.Check(ctx, testKey, name, "pw", loopback); u != nil || !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v, %v", name, u, err)
		}
	}
	for range cap(memorySlots) {
		<-memorySlots
	}
	if u, err := table.Check(t.Context(), testKey, "a", "pw", loopback); u == nil || err != nil {
		t.Errorf("%v, %v", u, err)
	}
}

type countingMethod struct{ n *int }

func (m countingMethod) verify(_ context.Context, p string) (bool, error) {
	*m.n++
	return p == "right", nil
}
func (m countingMethod) cost() string { return "X" }

func TestDigestCandidates(t *testing.T) {
	h := func(s string) string { return fmt.Sprintf("%x", md5.Sum([]byte(s))) }
	table := parseTable(t, `alice@example.org:{DIGEST-MD5}`+h("alice:example.org:pw1")+` {DIGEST-MD5.realm=msa}`+h("alice@example.org:msa:pw1")+`
bob@example.org:{PLAIN}pw2
bob:{PLAIN}pw3
carol:{DIGEST-MD5}`+h("carol::pw4")+` {DIGEST-MD5.realm=msa}`+h("carol:msa:pw4")+`
dave:{PLAIN}x::::::nologin
eve@example.org:{SHA}`+strings.Repeat("0", 40)+`
`)
	for _, tc := range []struct{ user, realm, want string }{
		{"alice", "example.org", "alice@example.org=" + h("alice:example.org:pw1")},
		{"alice@example.org", "msa", "alice@example.org=" + h("alice@example.org:msa:pw1")},
		{"alice@example.org", "example.org", ""},
		{"alice", "msa", ""},
		{"bob@example.org", "msa", "bob@example.org:pw2"},
		{"bob", "example.org", "bob:pw3 bob@example.org:pw2"},
		{"bob", "msa", "bob:pw3"},
		{"carol", "msa", "carol=" + h("carol:msa:pw4")},
		{"carol", "", "carol=" + h("carol::pw4")},
		{"dave", "msa", ""},
		{"eve", "example.org", ""},
		{"nobody", "msa", ""},
	} {
		var got []string
		for _, c := range table.DigestCandidates(tc.user, tc.realm) {
			if c.HA1 != nil {
				got = append(got, c.User.Name+"="+hex.EncodeToString(c.HA1[:]))
			} else {
				got = append(got, c.User.Name+":"+c.Password)
			}
		}
		if strings.Join(got, " ") != tc.want {
			t.Errorf("(%s, %s): %q, want %q", tc.user, tc.realm, got, tc.want)
		}
	}
}

func TestSCRAM(t *testing.T) {
	stored, err := Generate("SCRAM-SHA-256", "alice", "pw1", Options{Rounds: 5000})
	if err != nil {
		t.Fatal(err)
	}
	table := parseTable(t, "alice:{PLAIN}pw1 "+stored+"\nbob:{PLAIN}pw2\ncarol:{SHA}"+strings.Repeat("0", 40)+"\ndave:{PLAIN}x::::::nologin\neve:{PLAIN}pw::::::allow_nets=192.0.2.1\n")
	get := func(name string) (sasl.SCRAMCredential, *User) {
		t.Helper()
		k, u, err := table.SCRAM(testKey, name, loopback)
		if err != nil || k.Validate() != nil {
			t.Fatalf("%s: %v, %v", name, err, k.Validate())
		}
		again, _, _ := table.SCRAM(testKey, name, loopback)
		if fmt.Sprintf("%x%x", k.Salt, k.StoredKey) != fmt.Sprintf("%x%x", again.Salt, again.StoredKey) {
			t.Errorf("%s: two keys", name)
		}
		return k, u
	}
	for name, password := range map[string]string{"alice": "pw1", "bob": "pw2"} {
		k, u := get(name)
		want, err := sasl.NewSCRAMCredential(password, k.Salt, k.Iterations)
		if err != nil || u != table.Lookup(name) || string(k.StoredKey) != string(want.StoredKey) || string(k.ServerKey) != string(want.ServerKey) {
			t.Errorf("%s: %v, %v, %v", name, k, u, err)
		}
	}
	iterations := map[int]int{}
	salts := map[string]bool{}
	for i := range 40 {
		k, u := get(fmt.Sprintf("nobody%d", i))
		if u != nil || len(k.Salt) != 16 {
			t.Errorf("decoy %v, %v", k, u)
		}
		iterations[k.Iterations]++
		salts[string(k.Salt)] = true
	}
	if iterations[4096] == 0 || iterations[5000] == 0 || len(iterations) != 2 || len(salts) != 40 {
		t.Errorf("decoys of %v iterations, %d salts", iterations, len(salts))
	}
	for _, name := range []string{"carol", "dave", "eve"} {
		if _, u := get(name); u != nil {
			t.Errorf("%s has a key", name)
		}
	}
	if k, u, err := empty(t).SCRAM(testKey, "x", loopback); err != nil || u != nil || k.Iterations != 4096 {
		t.Errorf("empty table: %v, %v, %v", k, u, err)
	}
}

func TestFingerprint(t *testing.T) {
	seen := map[string]string{}
	for _, line := range []string{"a:{PLAIN}x", "a:{PLAIN}y", "a:{PLAIN}x {PLAIN}y", "a:{PLAIN}y {PLAIN}x", "a:", "a:{PLAIN}x::::::nologin", "a:!"} {
		f := parseUser(t, line).Fingerprint()
		if other, ok := seen[f]; ok {
			t.Errorf("%s has the fingerprint of %s", line, other)
		}
		seen[f] = line
	}
	if parseUser(t, "a:{PLAIN}x").Fingerprint() != parseUser(t, "a:{PLAIN}x:1:1::::addresses=@x.org").Fingerprint() {
		t.Error("addresses change the fingerprint")
	}
}

// Nothing that holds a secret shows it.
func TestRedaction(t *testing.T) {
	table := parseTable(t, "alice:{PLAIN}tops3cret {DIGEST-MD5}746f707333637265742121212121212f::::::addresses=@x.org allow_nets=::1")
	u := table.Lookup("alice")
	c := table.DigestCandidates("alice", "")
	values := []any{*u, u, u.Credentials, u.Credentials[0], &u.Credentials[1], table, *table, c, c[0], &c[1], struct{ U *User }{u}, []User{*u}, map[string]User{"a": *u}, struct{ t *Table }{table}, []any{struct{ u User }{*u}}, struct{ c []Credential }{u.Credentials}}
	var out strings.Builder
	for _, v := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		if js, err := json.Marshal(v); err == nil {
			out.Write(js)
		}
		enc := zapcore.NewJSONEncoder(zapcore.EncoderConfig{})
		buf, err := enc.EncodeEntry(zapcore.Entry{}, []zap.Field{zap.Any("v", v), zap.Reflect("r", v)})
		if err != nil {
			t.Error(err)
		}
		out.WriteString(buf.String())
	}
	for _, leak := range []string{"tops3cret", "746f7073", "746F7073", hex.EncodeToString([]byte("tops3cret")), "[116 111 112", "0x74, 0x6f", "dG9wczNj"} {
		if i := strings.Index(out.String(), leak); i >= 0 {
			t.Errorf("%q is shown: ...%s...", leak, out.String()[max(0, i-100):i+20])
		}
	}
	if !strings.Contains(out.String(), "REDACTED") || !strings.Contains(out.String(), "alice") {
		t.Error(out.String())
	}
}
