package integration

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
)

// examined runs `caddy msa doctor` and returns what it finds, however long it takes to look.
func examined(t *testing.T, args ...string) []doctor.Finding {
	t.Helper()
	cmd := exec.Command(binary, append([]string{"msa", "doctor", "--json", "--timeout", "5m"}, args...)...)
	cmd.Env = append(cmd.Environ(), "MSA_PASSWORD="+postfixPass)
	out, err := cmd.Output()
	var r struct {
		Worst    doctor.Level     `json:"worst"`
		Findings []doctor.Finding `json:"findings"`
	}
	if jerr := json.Unmarshal(out, &r); jerr != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
	if (err != nil) != (r.Worst == doctor.Wrong) || r.Worst != doctor.Worst(r.Findings) {
		t.Errorf("%v: exit: %v, worst: %s", args, err, r.Worst)
	}
	for _, f := range r.Findings {
		if f.Level != doctor.OK && f.Remedy == "" {
			t.Errorf("%v: no remedy: %+v", args, f)
		}
	}
	return r.Findings
}

// named looks for a finding.
func named(t *testing.T, found []doctor.Finding, fault, check string, level doctor.Level, text string) {
	t.Helper()
	if !slices.ContainsFunc(found, func(f doctor.Finding) bool {
		return f.Check == check && f.Level == level && strings.Contains(f.Subject+": "+f.Text, text)
	}) {
		t.Errorf("%s: not named: %s %s: %s\n%s", fault, level, check, text, table(found))
	}
}

// planted is a fault, and what has to be found of it.
type planted struct {
	fault, check string
	level        doctor.Level
	text         string
}

// allNamed is named for several faults.
func allNamed(t *testing.T, found []doctor.Finding, faults []planted) {
	t.Helper()
	for _, f := range faults {
		named(t, found, f.fault, f.check, f.level, f.text)
	}
}

func table(found []doctor.Finding) string {
	var b strings.Builder
	for _, f := range found {
		fmt.Fprintf(&b, "%-8s %-12s %s: %s\n", f.Level, f.Check, f.Subject, f.Text)
	}
	return b.String()
}
