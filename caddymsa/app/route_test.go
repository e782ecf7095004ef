package app

import (
	"testing"

	"go.uber.org/zap"
	zapobserver "go.uber.org/zap/zaptest/observer"
)

// The order of routes counts: one that takes everything leaves nothing to those after it.
func TestTellOfRoutes(t *testing.T) {
	t.Parallel()
	some, all := &RouteConfig{name: "some", matchers: matcherSets{nil}}, &RouteConfig{name: "all"}
	for _, tt := range []struct {
		routes []*RouteConfig
		after  int64
	}{
		{[]*RouteConfig{all}, 0},
		{[]*RouteConfig{some, all}, 0},
		{[]*RouteConfig{some, all, some, all}, 2},
	} {
		core, logs := zapobserver.New(zap.WarnLevel)
		tellOfRoutes(tt.routes, zap.New(core))
		var after any
		for _, l := range logs.All() {
			if f := l.ContextMap(); f["route"] == "all" {
				after = f["after_it"]
			}
		}
		if tt.after == 0 && logs.Len() != 0 || tt.after != 0 && (logs.Len() != 1 || after != tt.after) {
			t.Errorf("%d routes: %v, want %d", len(tt.routes), logs.All(), tt.after)
		}
	}
}
