package spoolfile

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"hash/fnv"
	"io"
	"slices"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// Keys of the store. Envelopes and bodies lie apart, so that the scan at start
// reads no bodies.
const (
	envelopePrefix = 'e' // e<id>: an envelope record, with the jobs that the message began with
	bodyPrefix     = 'b' // b<id>: the prepended header, and the body if it is small
	jobPrefix      = 'j' // j<id> NUL <number>: a job that is not as it was in the envelope record
	statusPrefix   = 's' // s<id>: what changed of the entry as a whole

	keyPrefixes = "ebjs" + string(factPrefix) + string(bookPrefix)
)

func envelopeKey(id string) []byte { return append([]byte{envelopePrefix}, id...) }
func bodyKey(id string) []byte     { return append([]byte{bodyPrefix}, id...) }
func statusKey(id string) []byte   { return append([]byte{statusPrefix}, id...) }

func jobKey(id string, number int) []byte {
	return binary.BigEndian.AppendUint32(append(append([]byte{jobPrefix}, id...), 0), uint32(number))
}

// splitJobKey reads what jobKey wrote, without the prefix.
func splitJobKey(key string) (id string, number int, err error) {
	if n := len(key) - 5; n >= 0 && key[n] == 0 {
		return key[:n], int(binary.BigEndian.Uint32([]byte(key[n+1:]))), nil
	}
	return "", 0, errRecord
}

// Versions of a record. The first two were whole entries with all that changed of them; Open turns
// them into the fourth.
const (
	recordFirst   = 1
	recordSecond  = 2
	recordThird   = 3 // has no checksums
	recordVersion = 4
	recordCopies  = 5 // the same, with copies among the jobs
	jobVersion    = 1
	statusVersion = 1
)

var errRecord = errors.New("damaged envelope record")

// Flags of an envelope record.
const (
	envelopeSummed      = 1 << iota // the message's checksums are known
	envelopeHeld                    // a status that holds the message was stored with it
	envelopeIndependent             // its checksums are of another polynomial than the store's
)

// independent is the polynomial of the checksums that an envelope record has of itself and of what the body's key has. It
// is not the store's: octets that are put right by the store's checksum have the right one of the same polynomial too,
// whatever they were before.
var independent = crc32.IEEETable

// envelope is an envelope record: what the schedule needs, in fixed places before the entry's
// JSON, so that a scan parses none. With a checksum of its own it can be trusted where the store cannot.
type envelope struct {
	file     uint64
	size     int64
	priority int8
	user     uint64
	accepted int64
	summed   bool
	// independent: of another polynomial than the store's are the checksum of the record, and bodySum.
	independent bool
	bodySum     uint32 // of what the body's key has
	bodyLen     uint32
	fileSum     uint32
	held        bool
	octets      int // of the record
	jobs        []firstJob
	json        []byte
}

// firstJob is a job as the message began.
type firstJob struct {
	due, deadline int64
	lane, stamp   string
	to            string // as queue.Indexes; empty: all
	copied        string // the copy's name; empty: it is not one
}

// describe takes from the entry what the schedule goes by.
func (e *entry) describe(q *queue.Entry) {
	e.priority = int8(min(max(q.Priority, lowestPriority), highestPriority))
	e.accepted = nanos(q.Accepted)
	h := fnv.New64a()
	_, _ = io.WriteString(h, q.User)
	e.user = h.Sum64()
}

// envelopeFixed is how long version, flags, length and checksum of the rest are.
const envelopeFixed = 10

// encode writes the record.
func (e *entry) encode(q *queue.Entry, jobs []queue.Job, body [][]byte) ([]byte, error) {
	entry, err := json.Marshal(q)
	if err != nil {
		return nil, fmt.Errorf("entry %s: %w", q.ID, err)
	}
	b := make([]byte, envelopeFixed, 128+len(entry))
	b[0] = recordVersion
	if slices.ContainsFunc(jobs, func(j queue.Job) bool { return j.Copy != "" }) {
		b[0] = recordCopies
	}
	b[1] = envelopeIndependent
	if e.is(entrySummed) {
		b[1] |= envelopeSummed
	}
	if e.is(entryHeld) {
		b[1] |= envelopeHeld
	}
	bodySum, bodyLen := uint32(0), 0
	for _, p := range body {
		bodySum, bodyLen = crc32.Update(bodySum, independent, p), bodyLen+len(p)
	}
	b = binary.BigEndian.AppendUint32(b, bodySum)
	b = binary.BigEndian.AppendUint32(b, uint32(bodyLen))
	b = binary.BigEndian.AppendUint32(b, e.sum)
	b = binary.BigEndian.AppendUint64(b, e.file)
	b = binary.BigEndian.AppendUint64(b, uint64(e.size))
	b = append(b, byte(e.priority))
	b = binary.BigEndian.AppendUint64(b, e.user)
	b = binary.BigEndian.AppendUint64(b, uint64(e.accepted))
	b = binary.AppendUvarint(b, uint64(len(jobs)))
	for i := range jobs {
		j := &jobs[i]
		b = binary.BigEndian.AppendUint64(b, uint64(nanos(j.Due)))
		b = binary.BigEndian.AppendUint64(b, uint64(nanos(j.Deadline)))
		b = appendText(b, j.Lane)
		b = appendText(b, j.Stamp)
		to := []byte{}
		if len(j.Recipients) < len(q.Recipients) {
			to, _ = j.Indexes().MarshalText()
		}
		b = appendText(b, string(to))
		if b[0] == recordCopies {
			b = appendText(b, j.Copy)
		}
	}
	b = append(b, entry...)
	binary.BigEndian.PutUint32(b[2:], uint32(len(b)))
	binary.BigEndian.PutUint32(b[6:], crc32.Checksum(b[envelopeFixed:], independent))
	return b, nil
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// reader reads a record.
type reader struct {
	b     []byte
	bad   bool
	names names // texts that are the same in many records; nil: each is a text of its own
}

// names are texts by what they are.
type names map[string]string

func (r *reader) take(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return nil
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) octet() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) uint64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (r *reader) uint32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *reader) int64() int64 { return int64(r.uint64()) }

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) text() string {
	b := r.take(r.uvarint())
	if r.names == nil {
		return string(b)
	}
	text, ok := r.names[string(b)]
	if !ok {
		text = string(b)
		r.names[text] = text
	}
	return text
}

// decodeEnvelope reads an envelope record, whose JSON stays what it is.
func decodeEnvelope(b []byte) (*envelope, error) {
	v := new(envelope)
	if err := v.read(b, nil); err != nil {
		return nil, err
	}
	return v, nil
}

// read makes it what the record says, in the room that it has already: a scan leaves no garbage.
func (v *envelope) read(b []byte, names names) error {
	if len(b) < 2 {
		return errRecord
	}
	*v = envelope{octets: len(b), jobs: v.jobs[:0]}
	r := reader{b: b[2:], names: names}
	switch b[0] {
	case recordThird:
	case recordVersion, recordCopies:
		v.summed, v.held, v.independent = b[1]&envelopeSummed != 0, b[1]&envelopeHeld != 0, b[1]&envelopeIndependent != 0
		if length, sum := r.uint32(), r.uint32(); r.bad || uint64(length) != uint64(len(b)) || sum != crc32.Checksum(r.b, v.polynomial()) {
			return errRecord
		}
		v.bodySum, v.bodyLen, v.fileSum = r.uint32(), r.uint32(), r.uint32()
	default:
		return fmt.Errorf("envelope record of version %d, which this program does not know", b[0])
	}
	v.file, v.size = r.uint64(), r.int64()
	v.priority, v.user, v.accepted = int8(r.octet()), r.uint64(), r.int64()
	n := r.uvarint()
	if n > uint64(len(r.b)) {
		return errRecord
	}
	for range n {
		j := firstJob{due: r.int64(), deadline: r.int64(), lane: r.text(), stamp: r.text(), to: r.text()}
		if b[0] == recordCopies {
			j.copied = r.text()
		}
		v.jobs = append(v.jobs, j)
	}
	if r.bad || v.priority < lowestPriority || v.priority > highestPriority {
		return errRecord
	}
	v.json = r.b
	return nil
}

// polynomial is that of the record's checksums.
func (v *envelope) polynomial() *crc32.Table {
	if v.independent {
		return independent
	}
	return castagnoli
}

// proves tells whether octets are what the message's key had.
func (v *envelope) proves(b []byte) bool {
	return v.summed && uint64(len(b)) == uint64(v.bodyLen) && crc32.Checksum(b, v.polynomial()) == v.bodySum
}

// decode reads the entry.
func (v *envelope) decode() (*queue.Entry, error) {
	e := new(queue.Entry)
	if err := json.Unmarshal(v.json, e); err != nil {
		return nil, fmt.Errorf("%w: %w", errRecord, err)
	}
	return e, nil
}

// job makes a job of the entry as it began.
func (v *envelope) job(e *queue.Entry, number int) (*queue.Job, error) {
	if number < 1 || number > len(v.jobs) {
		return nil, fmt.Errorf("%w: there is no job %d", errRecord, number)
	}
	f := &v.jobs[number-1]
	j := new(queue.Job)
	if f.to == "" {
		*j = queue.NewJob(e)
	} else {
		var x queue.Indexes
		if err := x.UnmarshalText([]byte(f.to)); err != nil {
			return nil, err
		}
		if err := j.SetRecipients(e, x); err != nil {
			return nil, err
		}
	}
	j.Number, j.Lane, j.Stamp, j.Due, j.Deadline, j.Copy = number, f.lane, f.stamp, timeOf(f.due), timeOf(f.deadline), f.copied
	return j, nil
}

// Flags of a job record.
const (
	jobEnded = 1 << iota
	jobCopied
)

// storedJob is what the schedule needs of a job record.
type storedJob struct {
	ended, copied          bool
	written, due, deadline int64
	lane                   string
	json                   []byte
}

func encodeJob(j *queue.Job, written time.Time) ([]byte, error) {
	body, err := json.Marshal(j)
	if err != nil {
		return nil, fmt.Errorf("job %d: %w", j.Number, err)
	}
	b := make([]byte, 0, 64+len(j.Lane)+len(body))
	b = append(b, jobVersion, 0)
	if !j.Pending() {
		b[1] |= jobEnded
	}
	if j.Copy != "" {
		b[1] |= jobCopied
	}
	for _, t := range []time.Time{written, j.Due, j.Deadline} {
		b = binary.BigEndian.AppendUint64(b, uint64(nanos(t)))
	}
	return append(appendText(b, j.Lane), body...), nil
}

func decodeJob(b []byte) (storedJob, error) {
	r := &reader{b: b}
	version, flags := r.octet(), r.octet()
	j := storedJob{ended: flags&jobEnded != 0, copied: flags&jobCopied != 0, written: r.int64(), due: r.int64(), deadline: r.int64(), lane: r.text()}
	if r.bad || version != jobVersion {
		return j, errRecord
	}
	j.json = r.b
	return j, nil
}

func encodeStatus(s *queue.Status) ([]byte, error) {
	if s.IsZero() {
		return nil, nil
	}
	b, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	return append([]byte{statusVersion}, b...), nil
}

func decodeStatus(b []byte) (*queue.Status, error) {
	s := new(queue.Status)
	if len(b) == 0 {
		return s, nil
	}
	if b[0] != statusVersion {
		return nil, errRecord
	}
	if err := json.Unmarshal(b[1:], s); err != nil {
		return nil, fmt.Errorf("%w: %w", errRecord, err)
	}
	return s, nil
}

// sameJob tells whether a job is as it was.
func sameJob(a, b *queue.Job) bool {
	x, errA := json.Marshal(a)
	y, errB := json.Marshal(b)
	return errA == nil && errB == nil && bytes.Equal(x, y)
}

// nanos turns a time into the schedule's order. Times that an int64 cannot hold
// become the nearest that it can; the zero time is 0.
func nanos(t time.Time) int64 {
	switch {
	case t.IsZero():
		return 0
	case t.Year() < 1700:
		return -1 << 62
	case t.Year() > 2200:
		return 1<<63 - 1
	}
	return t.UnixNano()
}

func timeOf(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}
