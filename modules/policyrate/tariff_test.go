package policyrate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
	"github.com/caddy-msa/caddy-msa/caddymsa/sharing"
)

// tariff is a policy as a Caddyfile has it.
func tariff(t testing.TB, block string) (*RateLimit, func(time.Duration)) {
	t.Helper()
	p := new(RateLimit)
	if err := p.UnmarshalCaddyfile(caddyfile.NewTestDispenser("rate_limit {\n" + block + "\n}")); err != nil {
		t.Fatal(err)
	}
	p, clock := open(t, p)
	return p, func(d time.Duration) { clock.Add(int64(d)) }
}

// as submits for a user of whom the backend says something, and says how it was refused: "450 messages".
func as(p *RateLimit, user string, attributes map[string]string, octets, recipients int) string {
	s := msatest.NewSubmission(user, user+"@example.org")
	s.Identity.Attributes = attributes
	var to []string
	for i := range recipients {
		to = append(to, fmt.Sprintf("to%d@example.net", i))
	}
	err := msatest.Submit(context.Background(), p, s, to, msatest.NewMessage(strings.Repeat("x", octets)))
	s.End(err == nil)
	if r, ok := errors.AsType[*caddymsa.Refusal](err); ok {
		return fmt.Sprint(r.Code, " ", r.Rule)
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

const tariffBlock = `
	messages {msa.identity.attributes.per_hour} 3
	window   1h
	window 1d {
		messages   {msa.identity.attributes.per_day} 5
		recipients 40
	}
	per_message {
		recipients {msa.identity.attributes.rcpts} 10
		bytes      {msa.identity.attributes.size} 1kB
	}`

// One policy has an hour, a day and a message, and each user the amounts that the backend says.
func TestTariff(t *testing.T) {
	p, later := tariff(t, tariffBlock)
	many := func(user string, attributes map[string]string) (n int) {
		for ; n < 50; n++ {
			if as(p, user, attributes, 10, 1) != "" {
				break
			}
		}
		return n
	}
	gold := map[string]string{"per_hour": "6", "per_day": "unlimited", "rcpts": "20", "size": "2kB"}
	if n := many("bronze", nil); n != 3 {
		t.Errorf("an hour of the fallback has %d", n)
	}
	if n := many("gold", gold); n != 6 {
		t.Errorf("an hour of gold has %d", n)
	}
	later(time.Hour)
	if n := many("bronze", nil); n != 2 {
		t.Errorf("after an hour the day has %d left", n)
	}
	if got := as(p, "bronze", nil, 10, 1); got != "450 messages" {
		t.Error(got)
	}
	if n := many("gold", gold); n != 6 {
		t.Errorf("the second hour of gold has %d", n)
	}
	later(3 * time.Minute) // in which a new tariff has one more
	if n := many("gold", map[string]string{"per_hour": "20", "per_day": "unlimited"}); n != 1 {
		t.Errorf("a tariff that has changed had %d", n)
	}
	for i, tt := range []struct {
		attributes map[string]string
		octets, n  int
		want       string
	}{
		{nil, 10, 11, "452 per_message"},
		{nil, 1001, 1, "552 per_message"},
		{gold, 1001, 11, ""},
		{gold, 10, 21, "452 per_message"},
		{gold, 2001, 1, "552 per_message"},
		{map[string]string{"per_hour": "0"}, 10, 1, "550 messages"},
		{map[string]string{"rcpts": "0"}, 10, 1, "550 recipients"},
		{map[string]string{"per_hour": "lots"}, 10, 1, ""},
	} {
		if got := as(p, fmt.Sprint("user", i), tt.attributes, tt.octets, tt.n); got != tt.want {
			t.Errorf("%+v: %q", tt, got)
		}
	}
	bare, _ := tariff(t, "messages {msa.identity.attributes.per_hour}\nwindow 1h")
	if got := as(bare, "alice", nil, 1, 1); !strings.Contains(got, "gives no attribute per_hour") {
		t.Errorf("no attribute and no amount: %q", got)
	}
}

// Whoever may submit none of something hears it at the first moment, without SIZE too.
func TestNothing(t *testing.T) {
	for block, want := range map[string]string{
		"bytes {msa.identity.attributes.n} 1kB\nwindow 1h":     "No bytes are allowed",
		"per_message {\n bytes {msa.identity.attributes.n}\n}": "No bytes are allowed",
		"messages {msa.identity.attributes.n} 1\nwindow 1h":    "No messages are allowed",
	} {
		p, _ := tariff(t, block)
		s := msatest.NewSubmission("alice", "alice@example.org")
		s.Identity.Attributes = map[string]string{"n": "0"}
		err := p.CheckSender(context.Background(), s)
		if r, ok := errors.AsType[*caddymsa.Refusal](err); !ok || r.Code != 550 || r.Text != want {
			t.Errorf("%q: %v", block, err)
		}
	}
}

// What is left, and huge amounts, as a directory may have them.
func TestHugeAmounts(t *testing.T) {
	for value, want := range map[string]string{"1125899906842624": "", "1125899906842625": "552 per_message", "9223372036854775807": "552 per_message", "1e400": "552 per_message", "-1": "552 per_message"} {
		p, _ := tariff(t, "bytes {msa.identity.attributes.n} 5\nwindow 1h\nname "+value+"\nper_message {\n bytes {msa.identity.attributes.n} 5\n}")
		for range 3 {
			if got := as(p, "alice", map[string]string{"n": value}, 10_000, 1); got != want {
				t.Errorf("%s: %q, want %q", value, got, want)
			}
		}
	}
}

// What one level refuses, the other levels have not counted, though the message goes to others.
func TestLevelsTakeTogether(t *testing.T) {
	for _, shared := range []bool{false, true} {
		p, later := tariff(t, "recipients 4\nwindow 1h\nwindow 1d {\n recipients 2\n}")
		var counter *msatest.MemCounter
		if shared {
			counter = new(msatest.MemCounter)
			sharing := sharing.Sharing{Spool: &sharing.Spool{}}
			var err error
			if p.shared, err = sharing.Open("rate", p.log); err != nil {
				t.Fatal(err)
			}
		}
		s := msatest.NewSubmission("alice", "alice@example.org")
		if counter != nil {
			s.Counter = counter
		}
		err := msatest.Submit(context.Background(), p, s, []string{"a@example.net", "b@example.net"}, msatest.NewMessage("x"))
		for range 10 {
			if e := p.take(context.Background(), s, recipients, "alice", "", 1, false); e == nil {
				t.Error("more than a day has")
			}
		}
		s.End(true)
		if err != nil {
			t.Fatal(err)
		}
		level := p.levels[0] // of the hour, in which 2 of 4 are left
		r, _, _ := level.rate(recipients, s, p.Burst)
		only := []want{{rate: r, key: level.prefix + recipients + "\x00alice", cost: r.cost(2)}}
		if _, full, err := p.draw(context.Background(), s, only, true); full != nil || err != nil {
			t.Errorf("shared %v: the hour has counted what the day refused: %v, %v", shared, full, err)
		}
		later(0)
	}
}

// A bucket may be an organisation's, and who has none is alone.
func TestByAttribute(t *testing.T) {
	p, _ := tariff(t, "messages {msa.identity.attributes.per_hour} 1\nwindow 1h\nby {msa.identity.attributes.org}")
	acme := map[string]string{"org": "acme", "per_hour": "3"}
	for i, user := range []string{"alice", "bob", "carol"} {
		if got := as(p, user, acme, 1, 1); got != "" {
			t.Error(i, got)
		}
	}
	if got := as(p, "dave", map[string]string{"org": "ACME", "per_hour": "3"}, 1, 1); got != "450 messages" {
		t.Error("a fourth of three:", got)
	}
	for user, want := range map[string]string{"eve": "", "acme": ""} {
		if got := as(p, user, nil, 1, 1); got != want {
			t.Errorf("%s, who has no organisation: %q", user, got)
		}
	}
}

func TestTariffConfig(t *testing.T) {
	for block, want := range map[string]string{
		"window 1d {\n messages 1\n}":                        "",
		"per_message {\n bytes 1MB\n}":                       "",
		"messages 1\nwindow 1d {\n messages 5\n}\nwindow 1h": "",
		"window 1d {\n}":                                     "messages, recipients or bytes is required",
		"window 1d":                                          "messages, recipients or bytes is required",
		"window":                                             "window takes a time",
		"window soon {\n messages 1\n}":                      "window:",
		"messages 1\nwindow 1h\nwindow 1d":                   "window is specified twice; further ones",
		"per_message {\n messages 1\n}":                      "unknown setting",
		"per_message":                                        "recipients or bytes is required",
		"per_message 1":                                      "settings stand in a block",
		"per_message {\n bytes 1\n}\nper_message {\n bytes 2\n}": "per_message is specified twice",
		"messages 1\nwindow 1h\nwindow 60m {\n messages 2\n}":    "there is this window already",
		"messages 1\nwindow 1h\nby {msa.user}":                   "nor {msa.identity.attributes.NAME}",
		"messages {msa.identity.attribute.x}\nwindow 1h":         "write a number, or {msa.identity.attributes.NAME}",
	} {
		p := &RateLimit{Name: t.Name()}
		err := p.UnmarshalCaddyfile(caddyfile.NewTestDispenser("rate_limit {\n" + block + "\n}"))
		if err == nil {
			err = p.Provision(msatest.Context(t))
			_ = p.Cleanup()
		}
		if (want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", block, err, want)
		}
	}
	// Buckets in Redis are those of before there were tariffs.
	if id := (&RateLimit{Messages: "60", Window: conf.Duration(time.Minute), By: "user", Burst: 100}).id(); id != "user:60:0:0:1m0s:100" {
		t.Error(id)
	}
}

// A policy whose matcher waits for the message is asked for each recipient at its end, when all are there: as many as are allowed pass,
// and no later attempt of the same message can be better.
func TestPerMessageAtItsEnd(t *testing.T) {
	p, _ := tariff(t, "per_message {\n recipients 2\n}")
	s := msatest.NewSubmission("alice", "alice@example.org")
	s.Entry.Recipients = []queue.Recipient{{Address: "a@example.net"}, {Address: "b@example.net"}, {Address: "c@example.net"}}
	for i := range s.Entry.Recipients {
		err := p.CheckRecipient(context.Background(), s, &s.Entry.Recipients[i])
		if i < 2 && err != nil {
			t.Errorf("recipient %d: %v", i+1, err)
		}
		if r, ok := errors.AsType[*caddymsa.Refusal](err); i == 2 && (!ok || r.Code != 550 || r.Rule != "per_message") {
			t.Errorf("recipient %d: %v", i+1, err)
		}
	}
}
