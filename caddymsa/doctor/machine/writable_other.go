//go:build !unix

package machine

import "github.com/caddy-msa/caddy-msa/caddymsa/doctor"

// Writable would check that files can be made in a directory, which only unix says without making one.
func Writable(n *doctor.Notes, dir string) {
	n.Skip("submit a message to a recipient of the route", "whether %s can be written to is not known here", dir)
}
