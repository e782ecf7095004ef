package mapfile

import (
	"context"
	"os"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
)

// Examine implements caddymsa.Examiner: the file of now can be read, which may not be the one that is in force.
func (m *File) Examine(_ context.Context, x caddymsa.Examination) []doctor.Finding {
	n := doctor.About("address maps", x.Subject)
	const remedy = "correct the file, or put it back; what was read before stays in force until Caddy is started again, and then it does not start"
	path, err := conf.Expand(m.Path)
	if err != nil {
		n.Wrong(remedy, "path: %v", err)
		return n.Findings
	}
	f, err := os.Open(path)
	if err != nil {
		n.Wrong(remedy, "the file cannot be read: %v", err)
		return n.Findings
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		n.Wrong(remedy, "the file cannot be read: %v", err)
		return n.Findings
	}
	now, err := read(f, path, info.Size(), m.Case)
	switch {
	case err != nil:
		n.Wrong(remedy, "the file cannot be used: %v", err)
	case now.pairs == 0:
		n.Warn("add lines of a logical and an actual address each, or take the map out of the route", "the file %s has no addresses", path)
	default:
		n.OK("it has %d addresses", now.pairs)
	}
	return n.Findings
}

// Interface guard
var _ caddymsa.Examiner = (*File)(nil)
