package admin

import "testing"

// Who names a server that there is not reads which there are, in words.
func TestNoServer(t *testing.T) {
	p := &Part{Servers: []Server{{Name: "a.example"}, {Name: "b.example"}}}
	if got, want := p.noServer("x").Error(), `there is no server "x"; the configuration has a.example and b.example`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
