package sharing

import (
	"path/filepath"
	"testing"

	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
)

// The doctor says whether Redis answers; of counts that are elsewhere it says nothing.
func TestExamine(t *testing.T) {
	socket, _ := startRedis(t)
	up := open(t, Sharing{Redis: &Redis{Address: socket, Timeout: patience}}, zap.NewNop())
	if found := up.Examine(t.Context(), "policies", "policy rate_limit"); len(found) != 1 || found[0].Level != doctor.OK {
		t.Errorf("%+v", found)
	}
	down := open(t, Sharing{Redis: &Redis{Address: filepath.Join(t.TempDir(), "nobody")}}, zap.NewNop())
	if found := down.Examine(t.Context(), "policies", "policy rate_limit"); len(found) != 1 || found[0].Level != doctor.Wrong || found[0].Remedy == "" {
		t.Errorf("%+v", found)
	}
	if found := (*Counts)(nil).Examine(t.Context(), "policies", "policy rate_limit"); found != nil {
		t.Errorf("%+v", found)
	}
}
