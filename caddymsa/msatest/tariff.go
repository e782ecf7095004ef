package msatest

import (
	"testing"

	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
)

// Tariff fails unless the attribute of an identity, as a backend gave it, is an amount that policies count with.
func Tariff(t testing.TB, id caddymsa.Identity, attribute string, want int64) {
	t.Helper()
	allowed, err := conf.Amount("{msa.identity.attributes."+attribute+"}").Resolve("messages", conf.Pieces, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	if n, limited, err := allowed.Of(id.User, id.Attributes); n != want || !limited || err != nil {
		t.Errorf("attribute %s is %q: %d, %v, %v; want %d", attribute, id.Attributes[attribute], n, limited, err, want)
	}
}
