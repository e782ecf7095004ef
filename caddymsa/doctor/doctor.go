// Package doctor is what checks of a server have in common: what they find, and how they are run.
package doctor

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// Level says how much a finding matters.
type Level string

// Levels, from the least to the worst.
const (
	Skipped Level = "skipped" // it could not be looked at, or was not asked for
	OK      Level = "ok"
	Warn    Level = "warn"  // it works, and somebody will run into it
	Wrong   Level = "wrong" // clients or messages fail, or strangers get in
)

var levels = []Level{Skipped, OK, Warn, Wrong}

// Finding is what a check has to say of one thing.
type Finding struct {
	// Check that found it, in a word: "certificate", "spool", "R-05".
	Check string `json:"check"`
	// Subject is what was looked at: a server, an address, a file, a route.
	Subject string `json:"subject,omitempty"`
	Level   Level  `json:"level"`
	// Text says what is so, in a sentence.
	Text string `json:"text"`
	// Remedy says what to do about it. What is not OK has one.
	Remedy string `json:"remedy,omitempty"`
}

// Check looks at something, and does no harm to it. It returns soon after ctx ends.
type Check interface {
	Run(ctx context.Context) []Finding
}

// Func is a Check that is a function.
type Func func(ctx context.Context) []Finding

// Run implements Check.
func (f Func) Run(ctx context.Context) []Finding { return f(ctx) }

// atOnce bounds how many checks run at the same time: most of them wait for somebody.
const atOnce = 8

// Run runs checks at the same time and returns what they found in their order. One that panics is a finding of its own.
func Run(ctx context.Context, checks ...Check) []Finding {
	found := make([][]Finding, len(checks))
	room := make(chan struct{}, atOnce)
	var running sync.WaitGroup
	for i, c := range checks {
		room <- struct{}{}
		running.Go(func() {
			defer func() { <-room }()
			defer func() {
				if p := recover(); p != nil {
					found[i] = append(found[i], Finding{"doctor", "", Skipped, fmt.Sprintf("a check of type %T panicked: %v", c, p), "report it to those who wrote the check"})
				}
			}()
			found[i] = c.Run(ctx)
		})
	}
	running.Wait()
	return slices.Concat(found...)
}

// Worst is the level of the worst finding; OK if there is none.
func Worst(all []Finding) Level {
	worst := OK
	for _, f := range all {
		if Compare(f.Level, worst) > 0 {
			worst = f.Level
		}
	}
	return worst
}

// Compare is negative if a is better than b.
func Compare(a, b Level) int {
	return cmp.Compare(slices.Index(levels, a), slices.Index(levels, b))
}

// Count counts the findings of a level.
func Count(all []Finding, level Level) (n int) {
	for _, f := range all {
		if f.Level == level {
			n++
		}
	}
	return n
}

// Notes collects what one check finds about one subject.
type Notes struct {
	Check, Subject string
	Findings       []Finding
}

// About begins notes.
func About(check, subject string) *Notes { return &Notes{Check: check, Subject: subject} }

func (n *Notes) add(level Level, text, remedy string) {
	text = strings.ReplaceAll(text, "\n", "; ") // of errors that were joined
	n.Findings = append(n.Findings, Finding{n.Check, n.Subject, level, text, remedy})
}

// OK notes what is as it should be.
func (n *Notes) OK(format string, a ...any) { n.add(OK, fmt.Sprintf(format, a...), "") }

// Warn notes what somebody will run into.
func (n *Notes) Warn(remedy, format string, a ...any) { n.add(Warn, fmt.Sprintf(format, a...), remedy) }

// Wrong notes what fails.
func (n *Notes) Wrong(remedy, format string, a ...any) {
	n.add(Wrong, fmt.Sprintf(format, a...), remedy)
}

// Skip notes what was not looked at, and what it takes to look.
func (n *Notes) Skip(remedy, format string, a ...any) {
	n.add(Skipped, fmt.Sprintf(format, a...), remedy)
}

// Clean tells whether nothing worse than OK was noted.
func (n *Notes) Clean() bool { return Compare(Worst(n.Findings), OK) <= 0 }
