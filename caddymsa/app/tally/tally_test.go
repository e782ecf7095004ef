package tally

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
)

// A minute is the sixty seconds before, whenever it is asked; an hour has each minute by itself, and forgets.
func TestRates(t *testing.T) {
	var r Rates
	noon := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	r.Count(noon, Accepted, 3)
	r.Count(noon.Add(30*time.Second), Delivered, 2)
	r.Count(noon.Add(30*time.Second), Refused, 1)
	want := func(at time.Time, minute adminapi.Tally) {
		t.Helper()
		if got := r.LastMinute(at); got != minute {
			t.Errorf("%s: %+v, not %+v", at.Sub(noon), got, minute)
		}
	}
	want(noon.Add(55*time.Second), adminapi.Tally{Accepted: 3, Delivered: 2, Refused: 1})
	want(noon.Add(65*time.Second), adminapi.Tally{Delivered: 2, Refused: 1})
	want(noon.Add(95*time.Second), adminapi.Tally{})
	minutes := r.Minutes(noon.Add(90 * time.Second))
	if len(minutes) != 61 || minutes[59].Tally != (adminapi.Tally{Accepted: 3, Delivered: 2, Refused: 1}) || !minutes[59].Time.Equal(noon) {
		t.Errorf("%d minutes, %+v", len(minutes), minutes[59])
	}
	if first := r.Minutes(noon.Add(60 * time.Minute))[0]; first.Accepted != 3 {
		t.Errorf("an hour ago: %+v", first)
	}
	for _, later := range []time.Duration{61 * time.Minute, 1000 * time.Hour} {
		for _, m := range r.Minutes(noon.Add(later)) {
			if m.Tally != (adminapi.Tally{}) {
				t.Errorf("after %s: %+v", later, m)
			}
		}
	}
	r.Count(noon, Accepted, 1) // the clock was set back
	want(noon, adminapi.Tally{Accepted: 1})
}

// Refusals that are alike are one; strangers fill neither the memory nor the place of others.
func TestRefusals(t *testing.T) {
	var s Refusals
	noon := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	owner := adminapi.Refusals{Server: "msa", Network: "192.0.2.7/32", User: "alice", Moment: "RCPT", Rule: "recipients"}
	s.Add(noon, owner)
	owner.Reply = strings.Repeat("é", maxText)
	s.Add(noon.Add(time.Second), owner)
	if all := s.All(); len(all) != 1 || all[0].Count != 2 || !all[0].First.Equal(noon) || !all[0].Last.Equal(noon.Add(time.Second)) || all[0].Reply != strings.Repeat("é", maxText/2)+"…" {
		t.Errorf("%+v", all)
	}
	for i := range 10_000 {
		s.Add(noon.Add(time.Hour), adminapi.Refusals{Network: "203.0.113.9/32", User: fmt.Sprint("guess", i), Moment: "AUTH"})
	}
	all := s.All()
	if len(all) != maxOfNetwork+1 || all[0].User != "guess9999" || all[maxOfNetwork].User != "alice" {
		t.Errorf("%d, %+v", len(all), all[len(all)-1])
	}
	for i := range 10_000 {
		s.Add(noon.Add(time.Hour), adminapi.Refusals{Network: fmt.Sprint("net", i)})
	}
	if all := s.All(); len(all) != maxRefusals || len(s.networks) != maxRefusals {
		t.Errorf("%d of %d networks", len(all), len(s.networks))
	}
}
