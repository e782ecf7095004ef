package envelope

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

func delivery(id string, to ...string) *queue.Delivery {
	var rcpts []*queue.Recipient
	for _, a := range to {
		rcpts = append(rcpts, &queue.Recipient{Address: a, Notify: []string{"NEVER"}})
	}
	e := &queue.Entry{ID: id, Server: "msa.example.org", Accepted: time.Date(2026, 5, 4, 12, 0, 0, 0, time.FixedZone("", 7200)), Sender: "alice@example.org", User: "alice"}
	d := queue.NewDelivery(e, rcpts, nil)
	d.Attempt = 3
	return d
}

func TestKey(t *testing.T) {
	a := Key(delivery("Q1", "bob@example.net", "carol@example.net"))
	if a != Key(delivery("Q1", "carol@example.net", "bob@example.net")) {
		t.Error("the order of recipients counts")
	}
	archived := delivery("Q1", "bob@example.net", "carol@example.net")
	archived.Copy = "archive"
	if a == Key(archived) || Of(archived).Copy != "archive" {
		t.Error("a copy is taken for the delivery")
	}
	seen := map[string]bool{a: true}
	for _, d := range []*queue.Delivery{delivery("Q1", "bob@example.net"), delivery("Q2", "bob@example.net"), delivery("Q1", "bob@example.net", "bob@example.net")} {
		if k := Key(d); seen[k] {
			t.Errorf("%s twice", k)
		} else {
			seen[k] = true
		}
	}
	if k := Key(delivery("../../etc/passwd\x00", "x")); strings.ContainsAny(k, "./\x00") {
		t.Error(k)
	}
}

func TestOf(t *testing.T) {
	b, err := json.Marshal(Of(delivery("Q1", "bob@example.net")))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"id":"Q1","key":"Q1-`
	if got := string(b); !strings.HasPrefix(got, want) || !strings.Contains(got, `"accepted":"2026-05-04T10:00:00Z","size":0,"attempt":3,"sender":"alice@example.org","recipients":[{"address":"bob@example.net","notify":["NEVER"]}],"user":"alice"}`) {
		t.Error(got)
	}
}

// What has room is one part, as it is; else each recipient is in one part, which has room, if something has to be left out for it.
func TestSplit(t *testing.T) {
	size := func(v any) int {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return len(b)
	}
	var many []string
	for i := range 100 {
		many = append(many, fmt.Sprintf("recipient%d@example.org", i))
	}
	for name, tt := range map[string]struct {
		to        []string
		attribute string
		room      int
		few, most int // parts
		shortened bool
	}{
		"one":              {many[:1], "a", 1000, 1, 1, false},
		"room for all":     {many, "a", 10000, 1, 1, false},
		"many":             {many, "a", 1000, 6, 15, false},
		"large attributes": {many, strings.Repeat("a", 2000), 1000, 6, 15, true},
		"no room":          {many, "a", 1, 100, 100, true},
	} {
		d := delivery("Q1", tt.to...)
		d.Entry.Attributes, d.Copy = map[string]string{"a": tt.attribute}, "archive"
		parts := Split(d, tt.room, size)
		var got []string
		for _, p := range parts {
			if tt.room > 1 && size(p.Envelope) > tt.room || p.Envelope.Shortened != tt.shortened || p.Envelope.Key != Key(p.Delivery) || len(p.Delivery.Recipients) != len(p.Envelope.Recipients) {
				t.Errorf("%s: %d octets: %+v", name, size(p.Envelope), p.Envelope)
			}
			for _, r := range p.Envelope.Recipients {
				got = append(got, r.Address)
			}
		}
		if len(parts) < tt.few || len(parts) > tt.most || !slices.Equal(got, tt.to) {
			t.Errorf("%s: %d parts, to %v", name, len(parts), got)
		}
	}
}
