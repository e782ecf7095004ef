package doctor

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"
)

// Findings are in the order of the checks, and a check that panics takes none away.
func TestRun(t *testing.T) {
	gate := make(chan struct{})
	found := Run(t.Context(),
		Func(func(context.Context) []Finding {
			<-gate
			n := About("first", "a")
			n.OK("it works")
			n.Warn("look", "%d of %d", 1, 2)
			return n.Findings
		}),
		Func(func(context.Context) []Finding { panic("boom") }),
		Func(func(context.Context) []Finding {
			defer close(gate)
			n := About("last", "")
			n.Wrong("mend it", "it is broken")
			n.Skip("name it", "not looked at")
			return n.Findings
		}),
	)
	var order []string
	for _, f := range found {
		order = append(order, f.Check+" "+string(f.Level))
	}
	if want := []string{"first ok", "first warn", "doctor skipped", "last wrong", "last skipped"}; !reflect.DeepEqual(order, want) {
		t.Errorf("%q", order)
	}
	if !strings.Contains(found[2].Text, "boom") || found[1].Text != "1 of 2" {
		t.Errorf("%+v", found)
	}
	if Worst(found) != Wrong || Worst(found[:2]) != Warn || Worst(nil) != OK || Count(found, Skipped) != 2 {
		t.Error("levels")
	}
}

// Errors of several servers are lines; a finding is a sentence in one.
func TestOneLine(t *testing.T) {
	n := About("dns", "a.example")
	n.Skip("try again", "no answer: %v", errors.Join(errors.New("one is silent"), errors.New("two is silent")))
	if got := n.Findings[0].Text; got != "no answer: one is silent; two is silent" {
		t.Errorf("%q", got)
	}
}
