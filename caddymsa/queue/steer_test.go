package queue_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// An action is for one lane, which is named: what is not routed yet has none, and is no way to steer all.
func TestSteerNamesLane(t *testing.T) {
	s := newSink(nil)
	run(t, func(_ *queue.Entry, r *queue.Recipient) (queue.Sink, string, error) {
		if r.Address == "bob@nowhere.example" {
			return nil, "", queue.ErrNoRoute
		}
		return s, "test", nil
	}, func(r *rig) {
		r.Start()
		r.submit("LOST", nil, "bob@nowhere.example")
		r.submit("Q0", nil, "bob@example.net")
		r.after(time.Second)
		ctx := context.Background()
		for name, err := range map[string]error{"pause": r.Pause(ctx, "", ""), "resume": r.Resume(ctx, ""), "probe": r.Probe(ctx, "")} {
			if !errors.Is(err, queue.ErrUnnamed) {
				t.Errorf("%s of no lane: %v", name, err)
			}
		}
		r.submit("Q1", nil, "bob@example.net")
		r.after(time.Second)
		r.mustNotHave("Q0", "Q1")
	})
}

// A lane to which nothing has gone yet is paused before anything comes, if the configuration has it.
func TestPauseAhead(t *testing.T) {
	sink := newSink(nil)
	run(t, func(*queue.Entry, *queue.Recipient) (queue.Sink, string, error) { return sink, "expected", nil }, func(r *rig) {
		r.Start()
		ctx := context.Background()
		if err := r.Pause(ctx, "none", ""); !errors.Is(err, queue.ErrNoLane) {
			t.Error(err)
		}
		if err := r.Resume(ctx, "expected"); !errors.Is(err, queue.ErrNoLane) {
			t.Error(err)
		}
		if err := r.Pause(ctx, "expected", "the hop is mended"); err != nil {
			t.Fatal(err)
		}
		r.submit("Q0", nil, "bob@example.net")
		r.after(time.Minute)
		r.mustHave("Q0")
		if err := r.Resume(ctx, "expected"); err != nil {
			t.Error(err)
		}
		r.after(time.Second)
		r.mustNotHave("Q0")
	})
}

// A lane that is paused is not probed, and whoever wants that is told.
func TestProbePaused(t *testing.T) {
	run(t, to(newSink(nil)), func(r *rig) {
		r.Start()
		r.submit("Q0", nil, "bob@example.net")
		r.after(time.Second)
		ctx := context.Background()
		if err := r.Pause(ctx, "test", "the disk is changed"); err != nil {
			t.Fatal(err)
		}
		if err := r.Probe(ctx, "test"); !errors.Is(err, queue.ErrPaused) || err.Error() != "the lane is paused: test: the disk is changed" {
			t.Error(err)
		}
		if err := r.Resume(ctx, "test"); err != nil {
			t.Fatal(err)
		}
		if err := r.Probe(ctx, "test"); err != nil {
			t.Error(err)
		}
	})
}
