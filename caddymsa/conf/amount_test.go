package conf

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// What is written, what JSON has of it, and what is refused.
func TestAmountOf(t *testing.T) {
	for text, want := range map[string]string{
		"x 100":                                `100`,
		"x {msa.identity.attributes.per_hour}": `"{msa.identity.attributes.per_hour}"`,
		"x {msa.identity.attributes.per_hour} 100": `"{msa.identity.attributes.per_hour} 100"`,
		"x {env.PER_HOUR}":                         `"{env.PER_HOUR}"`,
		"x {msa.identity.attributes.a} {env.B}":    `"{msa.identity.attributes.a} {env.B}"`,
		"x":                                        "takes one value",
		`x ""`:                                     `"" is not an amount`,
		`x " "`:                                    `" " is not an amount`,
		"x 0":                                      "not a whole number above 0",
		"x -1":                                     "not a whole number above 0",
		"x 1.5":                                    "not a whole number above 0",
		"x many":                                   "not a whole number above 0",
		"x 1 2":                                    "or {msa.identity.attributes.NAME} and one",
		"x {msa.identity.attributes.a} many":       "not a whole number above 0",
		"x {msa.identity.attributes.a} 1 2":        "takes one value",
		"x {msa.identity.attributes.a}{msa.x}":     "is not an amount; write a number, or {msa.identity.attributes.NAME}",
		"x {msa.user}":                             "{msa.user} is not an amount; write a number, or {msa.identity.attributes.NAME}",
		"x {msa.identity.attributes.}":             "is not an amount",
	} {
		var a Amount
		d := caddyfile.NewTestDispenser(text)
		d.Next()
		err := Parse(d, AmountOf("x", Pieces, &a))
		got := fmt.Sprint(err)
		if err == nil {
			b, _ := json.Marshal(a)
			got = string(b)
			var again Amount
			if err := json.Unmarshal(b, &again); err != nil || again != a {
				t.Errorf("%s: %q is read again as %q, %v", text, a, again, err)
			}
		}
		if got != want && (err == nil || !strings.Contains(got, want)) {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
	var size Amount
	d := caddyfile.NewTestDispenser("x 64KiB")
	d.Next()
	if err := Parse(d, AmountOf("x", Octets, &size)); err != nil || size != "65536" {
		t.Errorf("%q, %v", size, err)
	}
}

func TestAmountJSON(t *testing.T) {
	for text, ok := range map[string]bool{`60`: true, `"60"`: true, `"64KiB"`: true, `0`: true, `60.5`: false, `true`: false, `[1]`: false, `1e400`: false} {
		var a Amount
		if err := json.Unmarshal([]byte(text), &a); (err == nil) != ok {
			t.Errorf("%s: %q, %v", text, a, err)
		}
	}
	b, err := json.Marshal(struct {
		A Amount `json:"a,omitempty"`
	}{})
	if err != nil || string(b) != "{}" {
		t.Errorf("%s, %v", b, err)
	}
}

// An attribute is an amount in whichever way a backend says it; where it is none, the configuration's amount
// counts and the log is told once of each user; where there is none either, nobody can tell.
func TestAllowance(t *testing.T) {
	t.Setenv("CONF_TEST_AMOUNT", "7")
	core, logs := observer.New(zap.WarnLevel)
	log := zap.New(core)
	for _, tt := range []struct {
		amount Amount
		unit   Unit
		value  string // "-": there is no attribute
		want   string
	}{
		{"100", Pieces, "-", "100 true"},
		{"", Pieces, "-", "0 false"},
		{"0", Pieces, "-", "0 false"},
		{"{env.CONF_TEST_AMOUNT}", Pieces, "-", "7 true"},
		{"{msa.identity.attributes.n} {env.CONF_TEST_AMOUNT}", Pieces, "-", "7 true"},
		{"{msa.identity.attributes.n} 5", Pieces, "250", "250 true"},
		{"{msa.identity.attributes.n} 5", Pieces, " 250 ", "250 true"},
		{"{msa.identity.attributes.n} 5", Pieces, "250.0", "250 true"},
		{"{msa.identity.attributes.n} 5", Pieces, "0", "0 true"},
		{"{msa.identity.attributes.n} 5", Pieces, "Unlimited", "0 false"},
		{"{msa.identity.attributes.n} 5", Pieces, "", "5 true"},
		{"{msa.identity.attributes.n} 5", Pieces, "-3", "5 true"},
		{"{msa.identity.attributes.n} 5", Pieces, "2.5", "5 true"},
		{"{msa.identity.attributes.n} 5", Pieces, "NaN", "5 true"},
		{"{msa.identity.attributes.n} 5", Pieces, "Inf", "5 true"},
		{"{msa.identity.attributes.n} 5", Pieces, "1e30", "5 true"},
		{"{msa.identity.attributes.n} 5", Pieces, "100,200", "5 true"},
		{"{msa.identity.attributes.n} 5", Pieces, "10MB", "5 true"},
		{"{msa.identity.attributes.n} 5kB", Octets, "10MB", "10000000 true"},
		{"{msa.identity.attributes.n} 5kB", Octets, "4096", "4096 true"},
		{"{msa.identity.attributes.n} 5kB", Octets, "big", "5000 true"},
		{"{msa.identity.attributes.n}", Pieces, "9", "9 true"},
		{"{msa.identity.attributes.n}", Pieces, "-", "messages: the backend gives no attribute n of the user, and the setting has no amount for that case"},
		{"{msa.identity.attributes.n}", Pieces, "x", "messages: attribute n is not an amount of the user, and the setting has no amount for that case"},
	} {
		a, err := tt.amount.Resolve("messages", tt.unit, log)
		if err != nil {
			t.Errorf("%q: %v", tt.amount, err)
			continue
		}
		all := map[string]string{"n": tt.value}
		if tt.value == "-" {
			all = nil
		}
		n, limited, err := a.Of("alice", all)
		got := fmt.Sprint(n, " ", limited)
		if err != nil {
			got = err.Error()
		}
		if strings.ReplaceAll(got, "  ", " ") != tt.want {
			t.Errorf("%q of %q: %s, want %s", tt.amount, tt.value, got, tt.want)
		}
	}
	for _, bad := range []Amount{"-1", " ", "x", "{env.CONF_TEST_NOTHING}", "{msa.user}", "1 2", "{msa.identity.attributes.n} 1 2"} {
		if a, err := bad.Resolve("x", Pieces, log); err == nil {
			t.Errorf("%q is %+v", bad, a)
		}
	}
	logs.TakeAll()
	a, _ := Amount("{msa.identity.attributes.n} 5").Resolve("messages", Pieces, log)
	for i := range 100 {
		for range 3 {
			_, _, _ = a.Of(fmt.Sprint("user", i), nil)
		}
	}
	told := logs.TakeAll()
	if len(told) != maxTold || told[0].ContextMap()["user"] != "user0" || told[1].ContextMap()["user"] != "user1" || told[maxTold-1].ContextMap()["hint"] == nil {
		t.Errorf("%d lines: %v", len(told), told)
	}
}

// Whatever is written, what is let through is what is read again, and no amount is below zero.
func FuzzAmount(f *testing.F) {
	f.Add("{msa.identity.attributes.per_hour} 100", "250")
	f.Add("100", "unlimited")
	f.Add("{msa.user}", "1e300")
	f.Fuzz(func(t *testing.T, text, value string) {
		if strings.Contains(text, "{file.") || strings.Contains(text, "{env.") {
			return
		}
		for _, unit := range []Unit{Pieces, Octets} {
			a, err := Amount(text).Resolve("x", unit, zap.NewNop())
			if err != nil || a == nil {
				continue
			}
			if n, _, err := a.Of("alice", map[string]string{a.attribute: value}); n < 0 || n > maxSize && unit == Octets {
				t.Errorf("%q of %q: %d, %v", text, value, n, err)
			}
			b, err := json.Marshal(Amount(text))
			var again Amount
			if err != nil || json.Unmarshal(b, &again) != nil {
				t.Errorf("%q: %s, %v", text, b, err)
			}
		}
	})
}
