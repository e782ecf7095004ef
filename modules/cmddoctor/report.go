package cmddoctor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"

	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
	"github.com/caddy-msa/caddy-msa/caddymsa/terminal"
)

// result is what --json prints.
type result struct {
	Worst    doctor.Level     `json:"worst"`
	Findings []doctor.Finding `json:"findings"`
}

// report prints what was found, and returns an error if something is wrong.
func (o *options) report(w io.Writer, found []doctor.Finding) error {
	shown := append([]doctor.Finding{}, found...) // not nil, for JSON
	if o.quiet {
		shown = slices.DeleteFunc(shown, func(f doctor.Finding) bool { return doctor.Compare(f.Level, doctor.Warn) < 0 })
	}
	if o.json {
		enc := json.NewEncoder(terminal.Writer(w))
		enc.SetIndent("", "  ")
		if err := enc.Encode(result{doctor.Worst(found), shown}); err != nil {
			return err
		}
	} else if err := list(w, shown, found); err != nil {
		return err
	}
	switch wrong := doctor.Count(found, doctor.Wrong); wrong {
	case 0:
		return nil
	case 1:
		return errors.New("one thing is wrong")
	default:
		return fmt.Errorf("%d things are wrong", wrong)
	}
}

// list prints findings as lines, in order; what there is to do below each; and how many there are of all of them.
func list(w io.Writer, shown, found []doctor.Finding) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, f := range shown {
		fmt.Fprintf(t, "%s\t%s\t%s\n", f.Level, terminal.Line(f.Check), terminal.Line(about(f)))
		if f.Remedy != "" {
			fmt.Fprintf(t, "\t\t-> %s\n", terminal.Line(f.Remedy))
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "%d ok, %d skipped, %d to look at, %d wrong\n", doctor.Count(found, doctor.OK), doctor.Count(found, doctor.Skipped),
		doctor.Count(found, doctor.Warn), doctor.Count(found, doctor.Wrong))
	return err
}

func about(f doctor.Finding) string {
	if f.Subject == "" {
		return f.Text
	}
	return f.Subject + ": " + f.Text
}
