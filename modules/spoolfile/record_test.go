package spoolfile

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

func TestRecord(t *testing.T) {
	a := manyLanes("Q001")
	a.Entry.User, a.Entry.Priority, a.Entry.Accepted = "alice", -20, noon
	a.Jobs[1].Deadline, a.Jobs[1].Stamp = noon.Add(time.Hour), "1-a"
	e := &entry{id: "Q001", file: 1 << 60, size: 7}
	e.describe(a.Entry)
	b, err := e.encode(a.Entry, a.Jobs, nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeEnvelope(b)
	if err != nil || got.file != e.file || got.size != 7 || got.priority != -9 || got.user != e.user || got.accepted != noon.UnixNano() || len(got.jobs) != 3 {
		t.Fatalf("%+v, %v", got, err)
	}
	q, err := got.decode()
	if err != nil || fmt.Sprint(q) != fmt.Sprint(a.Entry) {
		t.Errorf("%+v, %v", q, err)
	}
	for i := range a.Jobs {
		if j, err := got.job(q, i+1); err != nil || !sameJob(j, &a.Jobs[i]) {
			t.Errorf("job %+v, %v; wanted %+v", j, err, a.Jobs[i])
		}
	}
	b[0] = 9 // a later program's
	if _, err := decodeEnvelope(b); err == nil {
		t.Error("a record of an unknown version was read")
	}
}

// Copies are in a record of a version of its own, so that a program that knows nothing of them delivers none to the
// recipients. What is carved out of a damaged file has them too.
func TestRecordOfCopies(t *testing.T) {
	a := manyLanes("Q001")
	archive := queue.NewJob(a.Entry)
	archive.Number, archive.Copy, archive.Lane, archive.Deadline = 4, "archive", "archive/store", noon.Add(time.Hour)
	a.Jobs = append(a.Jobs, archive)
	b, err := new(entry).encode(a.Entry, a.Jobs, nil)
	if err != nil || b[0] != recordCopies {
		t.Fatal(b[0], err)
	}
	found := 0
	carve(append([]byte("rubbish"), append(b, "and more"...)...), func(id string, value []byte) {
		found++
		v, err := decodeEnvelope(value)
		if err != nil || id != "Q001" || len(v.jobs) != 4 {
			t.Fatalf("%s: %+v, %v", id, v, err)
		}
		for i := range a.Jobs {
			if j, err := v.job(a.Entry, i+1); err != nil || !sameJob(j, &a.Jobs[i]) {
				t.Errorf("job %+v, %v; wanted %+v", j, err, a.Jobs[i])
			}
		}
	})
	if found != 1 {
		t.Errorf("%d records were found", found)
	}
	value, err := encodeJob(&archive, noon)
	if err != nil {
		t.Fatal(err)
	}
	if rec, err := decodeJob(value); err != nil || !rec.copied || rec.ended {
		t.Errorf("%+v, %v", rec, err)
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

// Whatever lies in the store, reading it is an error or something that can be written again.
func FuzzRecord(f *testing.F) {
	a := manyLanes("Q001")
	b, err := new(entry).encode(a.Entry, a.Jobs, nil)
	if err != nil {
		f.Fatal(err)
	}
	j, err := encodeJob(&a.Jobs[0], noon)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(j)
	a.Jobs[1].Copy = "archive"
	if b, err = new(entry).encode(a.Entry, a.Jobs, nil); err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte{})
	f.Add(b[:40])
	f.Add([]byte(`x{"notes":[{"to":"1-5"}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > envelopeFixed && (b[0] == recordVersion || b[0] == recordCopies) { // past the checksum
			b = bytes.Clone(b)
			binary.BigEndian.PutUint32(b[2:], uint32(len(b)))
			binary.BigEndian.PutUint32(b[6:], crc32.Checksum(b[envelopeFixed:], independent))
		}
		if env, err := decodeEnvelope(b); err == nil {
			if q, err := env.decode(); err == nil {
				for i := range env.jobs {
					_, _ = env.job(q, i+1)
				}
				if rec, err := decodeJob(b); err == nil {
					_, _ = queue.DecodeJob(rec.json, q)
				}
			}
		}
		if rec, err := decodeJob(b); err == nil {
			if j, err := queue.DecodeJob(rec.json, a.Entry); err == nil {
				if _, err := encodeJob(j, noon); err != nil {
					t.Error(err)
				}
			}
		}
		_, _ = decodeStatus(b)
		_, _, _ = splitJobKey(string(b))
		if isOld(b) {
			_, _ = (&Store{schedule: newSchedule()}).migrateOne(new(entry), b, 0)
		}
	})
}

// untar unpacks a spool of testdata.
func untar(t *testing.T, name, into string) string {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			return filepath.Join(into, "spool")
		}
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(into, h.Name)
		if h.Typeflag == tar.TypeDir {
			err = os.MkdirAll(path, 0o700)
		} else {
			var b []byte
			if b, err = io.ReadAll(r); err == nil {
				err = os.WriteFile(path, b, 0o600)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// A spool that the version before wrote opens with all that was in it, and is this version's then.
func TestVersionBefore(t *testing.T) {
	dir := untar(t, "version2.tar.gz", t.TempDir())
	at := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	for range 2 {
		s, err := Open(dir, Options{Ballast: -1})
		if err != nil {
			t.Fatal(err)
		}
		all := make(map[string]*queue.EntryView)
		if err := s.List(background, "", func(m *queue.EntryView) bool { all[m.Entry.ID] = m; return true }); err != nil {
			t.Fatal(err)
		}
		if len(all) != 7 {
			t.Fatalf("%d messages", len(all))
		}
		if m := all["A-NEW"]; m.Entry.User != "alice" || m.Entry.Priority != 3 || m.Entry.Attributes["dept"] != "sales" || len(m.Jobs) != 1 || len(m.Jobs[0].Recipients) != 3 ||
			!m.Jobs[0].Due.Equal(at) || m.Entry.Recipients[1].Notify[1] != "DELAY" {
			t.Errorf("new: %+v", m)
		}
		if m := all["C-HELD"]; m.Status.Held != "held by the operator" || len(m.Status.History) != 1 {
			t.Errorf("held: %+v", m)
		}
		m := all["D-DEFERRED"]
		if r := m.Recipients(); r[0].State != queue.Delivered || r[1].Code != 451 || r[1].RemoteMTA != "mx.example.com" || m.Open() != 2 || !m.Next().Equal(at.Add(time.Hour)) ||
			m.Status.History[0].To[0] != 1 {
			t.Errorf("deferred: %+v", m)
		}
		for _, j := range m.Jobs {
			if j.Warned != (j.Recipients[0].Address == "carol@example.com" || j.Recipients[0].Index == 1) && j.Pending() && len(j.Recipients) == 1 {
				t.Errorf("deferred: job %+v", j)
			}
		}
		if m := all["E-DEAD"]; !m.DeadLetter() || m.Recipients()[2].Code != 550 {
			t.Errorf("dead: %+v", m)
		}
		if m := all["F-GIVEN-UP"]; m.Status.GivenUp != "enough" || !m.Status.Since.Equal(at.Add(time.Minute)) {
			t.Errorf("given up: %+v", m)
		}
		if m := all["G-BOUNCE"]; !m.Entry.Bounce || len(m.Jobs) != 1 {
			t.Errorf("bounce: %+v", m)
		}
		n, _, err := s.Check(background, func(int) {}, func(id, problem string) { t.Errorf("%s: %s", id, problem) })
		if n != 7 || err != nil {
			t.Errorf("%d checked, %v", n, err)
		}
		got := make(map[string]int)
		for {
			l, _, err := s.Lease(background, at.Add(24*time.Hour), queue.Want{})
			if err != nil {
				break
			}
			got[l.Entry().ID]++
			r, err := l.Open(background)
			if err != nil {
				t.Fatal(err)
			}
			b, _ := io.ReadAll(r)
			if int64(len(b)) != l.Entry().Size || !bytes.Contains(b, []byte("Subject: "+strings.ToLower(strings.Split(l.Entry().ID, "-")[1]))) && l.Entry().ID != "F-GIVEN-UP" {
				t.Errorf("%s: message %.100q", l.Entry().ID, b)
			}
			r.Close()
		}
		if fmt.Sprint(got) != "map[A-NEW:1 B-LARGE:1 D-DEFERRED:2 F-GIVEN-UP:1 G-BOUNCE:1]" {
			t.Errorf("leased %v", got)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
