package mapsql

import (
	"context"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
	"github.com/caddy-msa/caddy-msa/caddymsa/sqldb"
)

// Examine implements caddymsa.Examiner: both queries are asked for an address that nobody has.
func (m *SQL) Examine(ctx context.Context, x caddymsa.Examination) []doctor.Finding {
	n := doctor.About("address maps", x.Subject)
	nobody := mailaddr.Address{Exact: "doctor@invalid", Local: "doctor", Domain: "invalid"}
	for _, q := range []struct {
		name  string
		query sqldb.Query
	}{{"actual", m.actual}, {"logical", m.logical}} {
		if _, _, err := m.ask(ctx, q.query, nobody); err != nil {
			n.Wrong("start the database, or correct the dsn, the query or the account's rights in the route's address_map", "messages wait: the query %s fails: %v", q.name, err)
			return n.Findings
		}
	}
	n.OK("the database answers")
	return n.Findings
}

// Interface guard
var _ caddymsa.Examiner = (*SQL)(nil)
