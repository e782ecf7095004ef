package check

import (
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// Grafana's own schema takes the dashboard: each panel, its options and its queries are of the types that are named, and
// nothing is there that Grafana does not know.
func TestDashboard(t *testing.T) {
	plugins.RegisterDefaultPlugins()
	d := dashboard.NewDashboard()
	if err := d.UnmarshalJSONStrict(read(t, "../grafana/caddy-msa.json")); err != nil && err.Error() != "" { // it returns its list of errors as an error, an empty one too
		t.Fatal(err)
	}
	if err := d.Validate(); err != nil {
		t.Error(err)
	}
	if len(d.Panels) < 20 {
		t.Errorf("%d panels", len(d.Panels))
	}
}
