package cmdqueue

import (
	"io"
	"os"
	"strings"

	"github.com/caddy-msa/caddy-msa/caddymsa/terminal"
)

// style colours words when that is wanted.
type style struct{ colours bool }

// styleFor is with colours on a terminal, unless NO_COLOR is set (no-color.org).
func styleFor(w io.Writer) style {
	return style{os.Getenv("NO_COLOR") == "" && terminal.Is(w)}
}

const (
	red    = "31"
	yellow = "33"
	dim    = "2"
	bold   = "1"
)

// as marks the escape sequences, so that a tabwriter does not count them.
func (s style) as(code, text string) string {
	if !s.colours {
		return text
	}
	return "\xff\x1b[" + code + "m\xff" + text + "\xff\x1b[0m\xff"
}

// plain marks nothing: for what no tabwriter aligns.
func (s style) plain(code, text string) string {
	return strings.ReplaceAll(s.as(code, text), "\xff", "")
}

func (s style) state(state string) string {
	switch state {
	case "held":
		return s.as(yellow, state)
	case "dead":
		return s.as(red, state)
	}
	return state
}

// printable keeps what others wrote from steering the terminal.
func printable(s string) string { return terminal.Line(s) }
