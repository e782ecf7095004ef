//go:build linux

package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/caddy-msa/caddy-msa/integration/bench/load"
)

// report gathers what is printed at the end.
type report struct {
	machine []string
	lines   [][4]string // work, bar, measured, verdict
	missed  int
	raws    []string
	notes   []string
}

// add takes a line of the table.
func (r *report) add(work, bar, measured, verdict string) {
	r.lines = append(r.lines, [4]string{work, bar, measured, verdict})
	progress("%s: %s: %s: %s", work, bar, measured, verdict)
}

// check takes a line whose verdict is plain.
func (r *report) check(work, bar, measured string, ok bool) {
	verdict := "ok"
	if !ok {
		verdict = "MISSED"
		r.missed++
	}
	r.add(work, bar, measured, verdict)
}

// skip takes a line that could not be measured.
func (r *report) skip(work, bar, why string) { r.add(work, bar, why, "skipped") }

func (r *report) note(format string, args ...any) {
	r.notes = append(r.notes, fmt.Sprintf(format, args...))
}

// noPostfix notes why Postfix with Dovecot is not measured.
func (r *report) noPostfix(err error) {
	note := fmt.Sprintf("Postfix with Dovecot is skipped: %v", err)
	for _, n := range r.notes {
		if n == note {
			return
		}
	}
	progress("%s", note)
	r.notes = append(r.notes, note)
}

// ratio takes a line that compares; atLeast is the bar's direction.
func (r *report) ratio(c *contest, work, bar, of, to string, value func(sample) float64, atLeast bool, limit float64) {
	got, ok := c.ratio(of, to, value)
	if !ok {
		r.skip(work, bar, fmt.Sprintf("%s or %s is missing", of, to))
		return
	}
	measured := fmt.Sprintf("%.2f", got)
	ok = got >= limit
	if !atLeast {
		ok = got <= limit
	}
	if n := c.failures(of); n > 0 {
		measured += fmt.Sprintf(", %d sessions failed", n)
		ok = false
	}
	r.check(work, bar, measured, ok)
}

// figure takes a line that compares, without a bar.
func (r *report) figure(c *contest, work, what, of, to string, value func(sample) float64) {
	if got, ok := c.ratio(of, to, value); ok {
		r.add(work, what, fmt.Sprintf("%.2f", got), "")
	}
}

// raw takes a server's medians in a row.
func (r *report) raw(row, name string, s []sample) {
	p := func(ph load.Phase, share float64) float64 {
		return field(s, func(s sample) float64 { return ms(s.Percentile(ph, share)) })
	}
	text := row + "\t" + name
	for _, v := range []float64{
		field(s, sessionRate), field(s, messageRate), field(s, octetRate),
		p(load.Connect, .5), p(load.TLS, .5), p(load.Auth, .5), p(load.Data, .5), p(load.Total, .5), p(load.Total, .99),
		field(s, func(s sample) float64 { return s.cpuPer(s.AllMessages) }),
		field(s, func(s sample) float64 { return float64(s.peak) / (1 << 20) }),
	} {
		if v == 0 {
			text += "\t-" // too long for the turn, or of more than one process
		} else {
			text += fmt.Sprintf("\t%.4g", v)
		}
	}
	r.raws = append(r.raws, text)
}

// print writes the table, the raw medians and the machine.
func (r *report) print(w io.Writer) {
	fmt.Fprintln(w)
	table(w, "work\tbar\tmeasured\t", func(line func(...string)) {
		work := ""
		for _, l := range r.lines {
			if l[0] == work {
				l[0] = ""
			} else {
				work = l[0]
			}
			line(l[:]...)
		}
	})
	if len(r.raws) > 0 {
		fmt.Fprintln(w, "\nMedians. Times in ms, p50 unless said; CPU is the server's a message, relaying included; peak is VmHWM in MiB.")
		table(w, "row\tserver\tsessions/s\tmessages/s\tMB/s\tconnect\ttls\tauth\tdata\ttotal\tp99\tCPU\tpeak", func(line func(...string)) {
			for _, raw := range r.raws {
				line(raw)
			}
		})
	}
	fmt.Fprintln(w)
	for _, text := range append(r.notes, r.machine...) {
		fmt.Fprintln(w, text)
	}
}

func table(w io.Writer, head string, fill func(line func(...string))) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, head)
	fill(func(cells ...string) { fmt.Fprintln(tw, strings.Join(cells, "\t")) })
	tw.Flush()
}

// facts notes what machine this is, and says at once where its disk makes the
// numbers worthless.
func (r *report) facts(dir string) {
	model := "unknown processor"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	load, _ := os.ReadFile("/proc/loadavg")
	var fs syscall.Statfs_t
	kind := "unknown"
	if syscall.Statfs(dir, &fs) == nil {
		kind = fmt.Sprintf("type %#x", fs.Type)
		switch fs.Type {
		case 0xef53:
			kind = "ext4"
		case 0x58465342:
			kind = "xfs"
		case 0x9123683e:
			kind = "btrfs"
		case 0x01021994:
			kind = "tmpfs"
			r.note("The files are in memory: syncs cost nothing, and these numbers mean little. Use -dir.")
		}
	}
	r.machine = append(r.machine, fmt.Sprintf("%s; %d cores used; Linux %s; %s; %s; load before: %s; %s",
		model, runtime.NumCPU(), strings.TrimSpace(string(kernel)), kind, runtime.Version(),
		strings.TrimSpace(string(load)), time.Now().Format(time.DateTime)))
	progress("%s", r.machine[0])
}
