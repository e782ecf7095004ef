package notify

import (
	"encoding/json"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
)

// A copy's delivery is told as such, to operators only: it is not the message's.
func TestEventOfCopy(t *testing.T) {
	message := &Event{Fact: &journal.Fact{What: journal.Delivered, ID: "Q1", Visit: &journal.Visit{Route: "relay"}}}
	archive := &Event{Fact: &journal.Fact{What: journal.Delivered, ID: "Q1", Visit: &journal.Visit{Route: "archive", Copy: "archive"}}}
	for want, e := range map[string]*Event{"message.delivered": message, "copy.delivered": archive} {
		text, err := json.Marshal(e)
		var said struct {
			Type string
			Data struct{ Copy string }
		}
		if err == nil {
			err = json.Unmarshal(text, &said)
		}
		if err != nil || said.Type != want || (said.Data.Copy != "") != (e == archive) {
			t.Errorf("%s, %v, want %s", text, err, want)
		}
	}
	if message.ForUser() == nil || archive.ForUser() != nil {
		t.Error("users hear of messages, not of copies")
	}
}
