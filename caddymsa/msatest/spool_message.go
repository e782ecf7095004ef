package msatest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

func (s *spoolTest) testCommit() {
	s.none(spoolNoon, time.Time{})
	a := spoolAccept("Q1", spoolNoon)
	s.commit(a, "Received: here\r\n", []byte("Subject: hi\r\n\r\nbody\r\n"))
	l := s.lease(spoolNoon)
	if got := l.Entry(); fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", a.Entry) {
		s.Fatalf("entry\n%+v, wanted\n%+v", got, a.Entry)
	}
	if got, want := l.Job(), &a.Jobs[0]; !sameJob(got, want) {
		s.Fatalf("job\n%+v, wanted\n%+v", got, want)
	}
	if got := string(s.message(l)); got != "Received: here\r\nSubject: hi\r\n\r\nbody\r\n" {
		s.Fatalf("message %q", got)
	}
}

func (s *spoolTest) testAbort() {
	for _, size := range []int{0, 10, 300 << 10} {
		d, err := s.Create(background)
		if err != nil {
			s.Fatal(err)
		}
		if _, err := d.Write(spoolBody(1, size)); err != nil {
			s.Fatal(err)
		}
		d.Abort()
		d.Abort()
		if err := d.Commit(background, spoolAccept("Q1", spoolNoon)); err == nil {
			s.Fatal("an aborted draft was committed")
		}
	}
	s.wantIDs()
	s.reopen()
	s.wantIDs()
	s.none(spoolNoon, time.Time{})
}

func (s *spoolTest) testDraftReader() {
	// Policies read the message before it is accepted, whatever its size, and go on.
	d, err := s.Create(background)
	if err != nil {
		s.Fatal(err)
	}
	var written []byte
	var open []io.ReadCloser
	var wants [][]byte
	for i, size := range []int{100, 5 << 10, 20 << 10, 100 << 10, 300 << 10, 1} {
		b := spoolBody(i, size)
		if _, err := d.Write(b); err != nil {
			s.Fatal(err)
		}
		written = append(written, b...)
		for range 2 { // twice, and one is read only at the end
			r, err := d.Reader()
			if err != nil {
				s.Fatal(err)
			}
			open, wants = append(open, r), append(wants, bytes.Clone(written))
		}
		got, err := io.ReadAll(open[len(open)-1])
		if err != nil || !bytes.Equal(got, written) {
			s.Fatalf("after %d octets the draft reads as %d others: %v", len(written), len(got), err)
		}
		open[len(open)-1].Close()
		open, wants = open[:len(open)-1], wants[:len(wants)-1]
	}
	if err := d.Commit(background, spoolAccept("Q1", spoolNoon)); err != nil {
		s.Fatal(err)
	}
	for i := range 5 { // new drafts must not write into what is still read
		s.commit(spoolAccept(fmt.Sprintf("R%d", i), spoolNoon.Add(time.Hour)), "", spoolBody(100+i, 200<<10))
	}
	for i, r := range open {
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, wants[i]) {
			s.Errorf("reader %d: other octets than were written: %v", i, err)
		}
		r.Close()
	}
	if got := s.message(s.lease(spoolNoon)); !bytes.Equal(got, written) {
		s.Error("the message has other octets than were written")
	}
}

func (s *spoolTest) testSizes() {
	sizes := []int{0, 1, 4096, 8 << 10, 8<<10 + 1, 64<<10 - 1, 64 << 10, 64<<10 + 1, 256 << 10, 256<<10 + 1, 3 << 20}
	header := strings.Repeat("Received: by a long chain of servers\r\n", 100)
	for i, size := range sizes {
		d, err := s.Create(background)
		if err != nil {
			s.Fatal(err)
		}
		for b, step := spoolBody(i, size), 1+i*977; len(b) > 0; { // in pieces of many sizes
			n := min(step, len(b))
			if _, err := d.Write(b[:n]); err != nil {
				s.Fatal(err)
			}
			b = b[n:]
		}
		a := spoolAccept(fmt.Sprintf("Q%02d", i), spoolNoon.Add(time.Duration(i)))
		a.Header = []byte(header)
		if err := d.Commit(background, a); err != nil {
			s.Fatal(err)
		}
	}
	for _, again := range []bool{false, true} {
		if again {
			s.reopen()
		}
		var leases []queue.Lease
		for i, size := range sizes {
			l := s.lease(spoolNoon.Add(time.Hour))
			leases = append(leases, l)
			if want := append([]byte(header), spoolBody(i, size)...); !bytes.Equal(s.message(l), want) {
				s.Errorf("%s of %d octets came back changed", l.Entry().ID, size)
			}
		}
		for _, l := range leases {
			l.Release()
		}
	}
}

func (s *spoolTest) testSeek() {
	for i, size := range []int{5000, 500 << 10} {
		id := fmt.Sprintf("Q%d", i)
		s.commit(spoolAccept(id, spoolNoon), "Received: x\r\n", spoolBody(i, size))
		want := append([]byte("Received: x\r\n"), spoolBody(i, size)...)
		l := s.lease(spoolNoon)
		r, err := l.Open(background)
		if err != nil {
			s.Fatal(err)
		}
		other, err := l.Open(background) // readers do not disturb one another
		if err != nil {
			s.Fatal(err)
		}
		if end, err := r.Seek(0, io.SeekEnd); err != nil || end != int64(len(want)) {
			s.Errorf("the end is at %d (%v), wanted %d", end, err, len(want))
		}
		for _, at := range []int64{0, 5, 12, 13, 14, int64(len(want)) - 1, 3} {
			if _, err := r.Seek(at, io.SeekStart); err != nil {
				s.Fatal(err)
			}
			got := make([]byte, min(100, int64(len(want))-at))
			if _, err := io.ReadFull(r, got); err != nil || !bytes.Equal(got, want[at:at+int64(len(got))]) {
				s.Errorf("other octets at %d: %v", at, err)
			}
		}
		if got, err := io.ReadAll(other); err != nil || !bytes.Equal(got, want) {
			s.Errorf("a second reader: %v", err)
		}
		r.Close()
		other.Close()
		if err := l.Record(background, delivered(l)); err != nil {
			s.Fatal(err)
		}
	}
}

func (s *spoolTest) testSameID() {
	s.commit(spoolAccept("Q1", spoolNoon), "", []byte("first"))
	d, err := s.Create(background)
	if err != nil {
		s.Fatal(err)
	}
	defer d.Abort()
	_, _ = d.Write([]byte("second"))
	if err := d.Commit(background, spoolAccept("Q1", spoolNoon)); err == nil {
		s.Error("a second entry took the id of the first")
	}
	if got := string(s.message(s.lease(spoolNoon))); got != "first" {
		s.Errorf("message %q", got)
	}
}

func (s *spoolTest) testCancelled() {
	cancelled, cancel := context.WithCancel(background)
	d, err := s.Create(background)
	if err != nil {
		s.Fatal(err)
	}
	_, _ = d.Write([]byte("x"))
	cancel()
	if err := d.Commit(cancelled, spoolAccept("Q1", spoolNoon)); !errors.Is(err, context.Canceled) {
		s.Errorf("Commit: %v, wanted context.Canceled", err)
	}
	d.Abort()
	s.wantIDs()
	if _, _, err := s.Lease(cancelled, spoolNoon, queue.Want{}); !errors.Is(err, context.Canceled) && !errors.Is(err, queue.ErrNoneDue) {
		s.Errorf("Lease: %v", err)
	}
}
