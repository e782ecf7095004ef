package directive

import (
	"fmt"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-msa/caddy-msa/caddymsa/app/places"
)

// place is the file and line that the dispenser is at.
func place(d *caddyfile.Dispenser) string { return fmt.Sprintf("%s:%d", d.File(), d.Line()) }

// linesOf has where the settings of a directive's block stand, and those of the blocks in it; of what is there several
// times, the first.
func linesOf(d *caddyfile.Dispenser) places.Lines {
	d.Next()
	lines := places.Lines{"": place(d)}
	addLines(lines, "", d)
	return lines
}

// addLines reads the rest of a directive.
func addLines(lines places.Lines, path string, d *caddyfile.Dispenser) {
	d.RemainingArgs()
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := path + d.Val()
		if _, before := lines[name]; !before {
			lines[name] = place(d)
		}
		addLines(lines, name+"/", d)
	}
}
