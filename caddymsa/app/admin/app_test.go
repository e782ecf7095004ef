package admin

import (
	"net/url"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// Who names a server that there is not reads which there are, in words.
func TestNoServer(t *testing.T) {
	p := &Part{Servers: []Server{{Name: "a.example"}, {Name: "b.example"}}}
	if got, want := p.noServer("x").Error(), `there is no server "x"; the configuration has a.example and b.example`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// Servers are called by hostnames mostly, which are typed in any case; what is done and noted has the configuration's spelling.
func TestServerInAnyCase(t *testing.T) {
	p := &Part{Servers: []Server{{Name: "MSA.example"}, {Name: "b.example"}, {Name: "B.example"}}}
	for typed, want := range map[string]string{"msa.EXAMPLE": "MSA.example", "b.example": "b.example", "B.example": "B.example", "": ""} {
		if name, err := p.serverNamed(typed); err != nil || name != want {
			t.Errorf("%q is %q, %v", typed, name, err)
		}
	}
	if _, err := p.serverNamed("c.example"); err == nil {
		t.Error("no error of a server that there is not")
	}
	m := &queue.EntryView{Entry: &queue.Entry{Server: "MSA.example"}}
	if f, err := parseFilter(url.Values{"server": {"msa.example"}}); err != nil || !f.match(m) {
		t.Errorf("the queue: %v", err)
	}
	if h, err := parseHistory(url.Values{"server": {"msa.example"}}, noon); err != nil || !h.match(&journal.Fact{Server: "MSA.example"}) {
		t.Errorf("the history: %v", err)
	}
}
