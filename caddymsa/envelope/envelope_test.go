package envelope

import (
	"encoding/json"
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
