package admin

import (
	"net/url"
	"strings"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// Whose messages are asked for compares as names do everywhere.
func TestQueueFilterFoldsUser(t *testing.T) {
	m := &queue.EntryView{Entry: &queue.Entry{User: "Alice@D.example"}}
	for name, want := range map[string]bool{"alice@d.example": true, "ALICE@D.EXAMPLE": true, "bob@d.example": false} {
		if f, err := parseFilter(url.Values{"user": {name}}); err != nil || f.match(m) != want {
			t.Errorf("%s: %v, want %v", name, !want, want)
		}
	}
}

// A server is a host, whose name has no case.
func TestQueueFilterFoldsServer(t *testing.T) {
	m := &queue.EntryView{Entry: &queue.Entry{Server: "msa.example.org"}}
	for name, want := range map[string]bool{"msa.example.org": true, "MSA.Example.org": true, "msa": false} {
		if f, err := parseFilter(url.Values{"server": {name}}); err != nil || f.match(m) != want {
			t.Errorf("%s: %v, want %v", name, !want, want)
		}
	}
}

// Addresses may have the brackets that they have in dialogues and logs, as in the history; <> is the sender of notifications.
func TestQueueFilterBrackets(t *testing.T) {
	m := &queue.EntryView{Entry: &queue.Entry{Sender: "alice@example.org", Recipients: []queue.Recipient{{Address: "bob@example.net"}}}}
	for _, c := range []struct {
		name, value string
		want        bool
	}{{"sender", "<Alice@example.org>", true}, {"sender", "alice", true}, {"sender", "<>", false}, {"recipient", "<bob@example.net>", true}, {"recipient", "<carol@example.net>", false}} {
		if f, err := parseFilter(url.Values{c.name: {c.value}}); err != nil || f.match(m) != c.want {
			t.Errorf("%s=%s: %v, %v", c.name, c.value, f, err)
		}
	}
	m.Entry.Sender = ""
	if f, err := parseFilter(url.Values{"sender": {"<>"}}); err != nil || !f.match(m) {
		t.Errorf("%v, %v", f, err)
	}
	if f, err := parseFilter(url.Values{"recipient": {"<>"}}); err == nil {
		t.Errorf("%v", f)
	}
}

// A word that is empty does not mean any: with it, who acts on what a filter lets through would act on all.
func TestQueueFilterRefuses(t *testing.T) {
	for name, values := range map[string][]string{
		"user": {""}, "server": {""}, "sender": {" "}, "recipient": {""}, "error": {""}, "lane": {""}, "state": {""}, "word": {"x", ""},
		"older": {"-2h"}, "newer": {"0s"}, "colour": {"red"},
	} {
		if f, err := parseFilter(url.Values{name: values}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s=%q: %+v, %v", name, values, f, err)
		}
	}
	for name, value := range map[string]string{"user": "a", "recipient": "a", "state": "held", "older": "2h", "after": "M1", "limit": "1"} { // only one would be heeded
		if f, err := parseFilter(url.Values{name: {value, value}}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s twice: %+v, %v", name, f, err)
		}
	}
	if _, err := parseFilter(url.Values{"word": {"a", "b"}, "after": {""}, "limit": {""}, "older": {"2h"}}); err != nil {
		t.Error(err)
	}
}
