package mapsql

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
)

// table is as docs/address-map.md has it.
const table = "CREATE TABLE msa_addresses (logical VARCHAR(320) PRIMARY KEY, actual VARCHAR(320) NOT NULL)"

func file(t *testing.T, statements ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a.db")
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, s := range append([]string{table}, statements...) {
		if _, err := db.Exec(s); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

func open(t *testing.T, text string) (*SQL, error) {
	t.Helper()
	m := new(SQL)
	if err := m.UnmarshalCaddyfile(caddyfile.NewTestDispenser(text)); err != nil {
		return nil, err
	}
	m.Timeout = cmp.Or(m.Timeout, conf.Duration(time.Minute)) // a busy machine may not keep the default
	err := m.Provision(msatest.Context(t))
	t.Cleanup(func() { _ = m.Cleanup() })
	return m, err
}

func TestMap(t *testing.T) {
	path := file(t, "INSERT INTO msa_addresses VALUES ('xyz@otpnet.nl', 'abc@xyz.nl'), ('it''s@otpnet.nl', 'its@xyz.nl')")
	m, err := open(t, "sql sqlite "+path)
	if err != nil {
		t.Fatal(err)
	}
	domain, err := open(t, "sql sqlite "+path+` {
		actual  "SELECT {local} || '@shop.example', 1 WHERE {domain} = 'sales.example'"
		logical "SELECT NULL WHERE {address} <> ''"
		timeout 2s
		concurrency 1
	}`)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		m             *SQL
		logical       bool
		address, want string
	}{
		{m, false, "xyz@OTPNET.nl", "abc@xyz.nl"}, {m, false, "XYZ@otpnet.nl", "abc@xyz.nl"}, {m, false, "it's@otpnet.nl", "its@xyz.nl"}, {m, false, "abc@xyz.nl", ""},
		{m, true, "abc@xyz.nl", "xyz@otpnet.nl"}, {m, true, "xyz@otpnet.nl", ""},
		{domain, false, "anyone@sales.example", "anyone@shop.example"}, {domain, false, "anyone@example.org", ""}, {domain, true, "a@b.example", ""},
	} {
		a, err := mailaddr.Parse(tt.address, true)
		if err != nil {
			t.Fatal(err)
		}
		f := tt.m.Actual
		if tt.logical {
			f = tt.m.Logical
		}
		if got, ok, err := f(t.Context(), a); got != tt.want || ok != (tt.want != "") || err != nil {
			t.Errorf("%s: %q %v %v", tt.address, got, ok, err)
		}
	}
	if err := os.WriteFile(path, []byte("not a database"), 0o600); err != nil {
		t.Fatal(err)
	}
	a, _ := mailaddr.Parse("xyz@otpnet.nl", true)
	if _, ok, err := m.Actual(t.Context(), a); ok || err == nil {
		t.Error("a broken database says nothing")
	}
}

// Names fold: what is stored in lower case is found in any spelling, and what is not by its own. With case exact
// only the spelling counts.
func TestCase(t *testing.T) {
	path := file(t, "INSERT INTO msa_addresses VALUES ('bob@otpnet.nl', 'one@xyz.nl'), ('Boss@otpnet.nl', 'two@xyz.nl')")
	folded, err := open(t, "sql sqlite "+path)
	if err != nil {
		t.Fatal(err)
	}
	exact, err := open(t, "sql sqlite "+path+" {\n case exact\n}")
	if err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string][2]string{
		"bob@otpnet.nl": {"one@xyz.nl", "one@xyz.nl"}, "BOB@OTPnet.nl": {"one@xyz.nl", ""}, "Boss@otpnet.nl": {"two@xyz.nl", "two@xyz.nl"}, "boss@otpnet.nl": {"", ""},
	} {
		a, err := mailaddr.Parse(address, true)
		if err != nil {
			t.Fatal(err)
		}
		for i, m := range []*SQL{folded, exact} {
			if got, _, err := m.Actual(t.Context(), a); got != want[i] || err != nil {
				t.Errorf("%s, case %q: %q, %v, want %q", address, m.Case, got, err, want[i])
			}
		}
	}
}

func TestMistakes(t *testing.T) {
	path := file(t)
	for want, text := range map[string]string{
		"sql takes a driver":             "sql sqlite",
		`driver: "oracle" is not one of`: "sql oracle x",
		`unknown setting "query"`:        "sql sqlite x {\n query y\n}",
		"takes one value":                "sql sqlite x {\n actual SELECT 1\n}",
		`timeout: "soon" is not`:         "sql sqlite x {\n timeout soon\n}",
		"no such table":                  "sql sqlite " + path + " {\n actual \"SELECT a FROM b WHERE c = {address}\"\n}",
		"does not ask for the":           "sql sqlite " + path + " {\n logical \"SELECT 1\"\n}",
		"{user} is not known":            "sql sqlite " + path + " {\n actual \"SELECT {user}\"\n}",
	} {
		if _, err := open(t, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
	// A database that does not answer is not a mistake.
	m, err := open(t, "sql postgres postgres://msa@127.0.0.1:1/mail")
	if err != nil {
		t.Fatal(err)
	}
	a, _ := mailaddr.Parse("xyz@otpnet.nl", true)
	if _, ok, err := m.Actual(t.Context(), a); ok || err == nil {
		t.Error("no answer is an answer")
	}
}

// A database that hangs is waited for once, and not once for each recipient of a message, nor for each query of a configuration.
func TestHangs(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var asked atomic.Int32
	go func() {
		for {
			c, err := l.Accept() // and says nothing
			if err != nil {
				return
			}
			asked.Add(1)
			context.AfterFunc(t.Context(), func() { _ = c.Close() })
		}
	}()
	m, err := open(t, "sql mysql msa@tcp("+l.Addr().String()+")/mail {\n timeout 200ms\n}")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		a, err := mailaddr.Parse(fmt.Sprintf("r%d@otpnet.nl", i), true)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok, err := m.Actual(t.Context(), a); ok || err == nil {
			t.Error("no answer is an answer")
		}
	}
	if n := asked.Load(); n > 20 {
		t.Errorf("asked %d times", n)
	}
}
