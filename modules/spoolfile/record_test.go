package spoolfile

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

func TestRecord(t *testing.T) {
	want := record{held: true, next: -5, file: 1 << 60, size: 7, priority: -9, user: 1<<64 - 1}
	b, err := want.encode(testEntry("Q1"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := decodeRecord(b); err != nil || got != want {
		t.Errorf("%+v, %v; wanted %+v", got, err, want)
	}
	if e, err := decodeEntry(b); err != nil || fmt.Sprint(e) != fmt.Sprint(testEntry("Q1")) {
		t.Errorf("%+v, %v", e, err)
	}
	// What an earlier program wrote is read.
	first := append(slices.Clone(b[:firstHeader]), b[recordHeader:]...)
	first[0] = recordFirst
	want.priority, want.user = 0, 0
	if got, err := decodeRecord(first); err != nil || got != want {
		t.Errorf("%+v, %v; wanted %+v", got, err, want)
	}
	if e, err := decodeEntry(first); err != nil || e.ID != "Q1" {
		t.Errorf("%+v, %v", e, err)
	}
	b[0] = 3 // a later program's
	if _, err := decodeRecord(b); err == nil {
		t.Error("a record of an unknown version was read")
	}
}

func TestNanos(t *testing.T) {
	times := []time.Time{
		time.Date(1, 1, 1, 0, 0, 0, 1, time.UTC), time.Date(1969, 1, 1, 0, 0, 0, 0, time.UTC), {},
		noon, noon.Add(1), time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC),
	}
	for i := range times[1:] {
		if nanos(times[i]) >= nanos(times[i+1]) {
			t.Errorf("%v is not before %v", times[i], times[i+1])
		}
	}
}

func FuzzRecord(f *testing.F) {
	b, err := record{next: 1}.encode(&queue.Entry{ID: "Q1"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte{})
	f.Add(b[:recordHeader])
	f.Fuzz(func(t *testing.T, b []byte) {
		rec, err := decodeRecord(b)
		if err != nil {
			return
		}
		e, err := decodeEntry(b)
		if err != nil {
			return
		}
		again, err := rec.encode(e)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := decodeRecord(again); err != nil || got != rec {
			t.Errorf("%+v became %+v, %v", rec, got, err)
		}
	})
}
