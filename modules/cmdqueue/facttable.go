package cmdqueue

import (
	"fmt"
	"io"
	"os"
	"text/tabwriter"

	"golang.org/x/term"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
)

// narrow is the width of a terminal below which a fact takes two lines.
const narrow = 140

// factTable prints facts: a line each in columns, or two where the terminal is narrow.
type factTable struct {
	w     io.Writer
	style style
	width int // of the terminal; 0: it is none, and nothing is cut off
	facts int
}

func newFactTable(w io.Writer) *factTable {
	t := &factTable{w: w, style: styleFor(w)}
	if f, ok := w.(*os.File); ok {
		t.width, _, _ = term.GetSize(int(f.Fd()))
	}
	return t
}

// page prints a page. Columns are as wide as it needs.
func (t *factTable) page(p *adminapi.HistoryPage) error {
	first := t.facts == 0
	t.facts += len(p.Facts)
	if len(p.Facts) == 0 {
		return nil
	}
	if t.width > 0 && t.width < narrow {
		return t.twoLines(p.Facts, first)
	}
	table := tabwriter.NewWriter(t.w, 0, 0, 2, ' ', tabwriter.StripEscape)
	if first {
		fmt.Fprintln(table, "TIME\tSTATE\tID\tSENDER\tRECIPIENTS\tWHAT")
	}
	for i := range p.Facts {
		f := &p.Facts[i].Fact
		what := printable(gist(f))
		if t.width > 0 {
			what = clip(what, max(40, t.width-narrow+50))
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", stamp(f.Time), t.style.kind(f.What, string(f.What)), orDash(f.ID), senderOf(f), printable(whom(f, 1)), what)
	}
	return table.Flush()
}

// twoLines prints when, what, of which message and whom, and what there is to say below it.
func (t *factTable) twoLines(facts []adminapi.HistoryFact, first bool) error {
	const format = "%-14s  %s  %-16s  %s\n"
	const before = 14 + 2 + 9 + 2 + 16 + 2
	if first {
		fmt.Fprintf(t.w, format, "TIME", "STATE    ", "ID", "RECIPIENTS")
	}
	for i := range facts {
		f := &facts[i].Fact
		fmt.Fprintf(t.w, format, f.Time.Local().Format("01-02 15:04:05"), t.style.coloured(f.What, fmt.Sprintf("%-9s", printable(string(f.What)))), orDash(f.ID), clip(printable(whom(f, 1)), max(20, t.width-before)))
		text := gist(f)
		if f.What == journal.Accepted || f.What == journal.Refused {
			text = "from " + senderOf(f) + ", " + text
		}
		if text != "" {
			if _, err := fmt.Fprintf(t.w, "  %s\n", t.style.plain(dim, clip(printable(text), max(30, t.width-2)))); err != nil {
				return err
			}
		}
	}
	return nil
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return printable(s)
}

// senderOf is the return path. A refusal at the first command has none, and neither has what is about no message, such as a lane.
func senderOf(f *journal.Fact) string {
	if f.Sender == "" && (f.What == journal.Refused || f.ID == "") {
		return "-"
	}
	return bracket(f.Sender)
}

func colourOf(k journal.Kind) string {
	switch k {
	case journal.Failed, journal.Expired, journal.Untold, journal.Refused:
		return red
	case journal.Deferred, journal.Held:
		return yellow
	}
	return ""
}

// kind colours a word for a table.
func (s style) kind(k journal.Kind, text string) string {
	if c := colourOf(k); c != "" {
		return s.as(c, printable(text))
	}
	return printable(text)
}

// coloured is kind for what no tabwriter aligns.
func (s style) coloured(k journal.Kind, text string) string {
	if c := colourOf(k); c != "" {
		return s.plain(c, text)
	}
	return text
}
