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
