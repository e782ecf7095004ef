package authfile

import (
	"context"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
	"github.com/caddy-msa/caddy-msa/caddymsa/doctor/machine"
)

// Examine implements caddymsa.Examiner: the file is private, and has users in it.
func (f *File) Examine(_ context.Context, x caddymsa.Examination) []doctor.Finding {
	files := doctor.About("files", x.Subject)
	machine.Private(files, "the users file", f.path)
	n := doctor.About("backends", x.Subject)
	if users, _ := f.Survey(caddymsa.CapPassword, nil); users == 0 {
		n.Warn("make some: caddy msa user <name> --file "+f.path, "nobody can log in: there are no users in %s", f.path)
	} else {
		n.OK("it answers: %d users can log in", users)
	}
	return append(files.Findings, n.Findings...)
}

// Interface guard
var _ caddymsa.Examiner = (*File)(nil)
