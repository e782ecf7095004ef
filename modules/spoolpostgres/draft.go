package spoolpostgres

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"sync/atomic"

	"github.com/jackc/pgx/v5"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

const (
	threshold = 128 << 10 // octets of a body that are kept in memory; a larger one gets a file
	chunk     = 1 << 20   // octets of a row of a message
)

var errEnded = errors.New("the draft has ended")

// draft is a message being written: in memory, or in a file that has no name and ends with the process.
type draft struct {
	s     *Store
	buf   []byte // never used again once the draft has ended: readers may be open on it
	file  *shared
	size  int64
	err   error
	ended bool

	object string // the name of what was stored in S3
}

// body is what was written.
func (d *draft) body() io.Reader {
	if d.file != nil {
		return io.NewSectionReader(d.file, 0, d.size)
	}
	return bytes.NewReader(d.buf)
}

// shared is a file that is closed with the last who reads it.
type shared struct {
	*os.File
	users atomic.Int32
}

func (f *shared) release() {
	if f.users.Add(-1) == 0 {
		_ = f.File.Close()
	}
}

// Create begins a message.
func (s *Store) Create(ctx context.Context) (queue.Draft, error) {
	if err := s.check(ctx); err != nil {
		return nil, err
	}
	if err := s.admit(ctx); err != nil {
		return nil, err
	}
	return &draft{s: s}, nil
}

func (d *draft) Write(p []byte) (n int, err error) {
	switch {
	case d.ended:
		return 0, errEnded
	case d.err != nil:
		return 0, d.err
	}
	if d.file == nil && len(d.buf)+len(p) > threshold {
		f, err := os.CreateTemp("", "msa-draft-")
		if err != nil {
			d.err = err
			return 0, err
		}
		d.file = &shared{File: f}
		d.file.users.Store(1)
		if err := os.Remove(f.Name()); err != nil {
			d.err = err
			return 0, err
		}
		if _, d.err = f.Write(d.buf); d.err != nil {
			return 0, d.err
		}
		d.buf = nil
	}
	if d.file == nil {
		d.buf = append(d.buf, p...)
		n = len(p)
	} else {
		n, d.err = d.file.Write(p)
	}
	d.size += int64(n)
	return n, d.err
}

// Reader opens what has been written so far.
func (d *draft) Reader() (io.ReadCloser, error) {
	switch {
	case d.ended:
		return nil, errEnded
	case d.err != nil:
		return nil, d.err
	case d.file == nil:
		return io.NopCloser(bytes.NewReader(d.buf[:len(d.buf):len(d.buf)])), nil
	}
	d.file.users.Add(1)
	return &fileReader{Reader: io.NewSectionReader(d.file, 0, d.size), file: d.file}, nil
}

type fileReader struct {
	io.Reader
	file   *shared
	closed atomic.Bool
}

func (r *fileReader) Close() error {
	if r.closed.CompareAndSwap(false, true) {
		r.file.release()
	}
	return nil
}

// Commit stores the message. It returns nil only when the database certainly has it.
func (d *draft) Commit(ctx context.Context, a *queue.Accept) error {
	if d.ended {
		return errEnded
	}
	if err := d.s.check(ctx); err != nil {
		return err
	}
	if err := d.put(ctx, a); err != nil {
		return err
	}
	m, err := d.message(a)
	if err == nil {
		err = d.s.trial.accepted(d.s.accept(ctx, m))
	}
	switch {
	case errors.Is(err, errUncertain) && (a.Once != nil || queue.IsMoved(ctx)):
		// The client may be told that it was accepted when it comes again: were it deleted by then, it would be lost.
	case errors.Is(err, errUncertain):
		d.s.disown(a.Entry.ID)
	case err != nil:
		d.unput()
	}
	d.end()
	if err == nil {
		d.s.quota.admitted(int64(len(a.Header)) + d.size)
		d.s.changed()
	}
	return err
}

// Abort leaves nothing of the message.
func (d *draft) Abort() { d.end() }

func (d *draft) end() {
	if d.ended {
		return
	}
	d.ended, d.buf = true, nil
	if d.file != nil {
		d.file.release()
	}
}

// message reads a stored one, a chunk at a time or, where it has a name, from S3.
func (s *Store) message(ctx context.Context, key, size int64, object *string) (io.ReadSeekCloser, error) {
	if err := s.check(ctx); err != nil {
		return nil, err
	}
	if object != nil {
		return s.object(ctx, *object)
	}
	m := &message{s: s, ctx: context.WithoutCancel(ctx), key: key, size: size, n: -1}
	if err := m.fetch(ctx, 0); err != nil {
		return nil, err
	}
	return m, nil
}

type message struct {
	s         *Store
	ctx       context.Context
	key, size int64
	at        int64
	n         int64 // the chunk that data is
	data      []byte
}

func (m *message) fetch(ctx context.Context, n int64) error {
	ctx, cancel := context.WithTimeout(ctx, m.s.timeout)
	defer cancel()
	var err error
	for range tries {
		if err = m.s.pool.QueryRow(ctx, "SELECT data FROM msa_body WHERE key = $1 AND n = $2", m.key, n).Scan(&m.data); err == nil || !again(err) {
			break
		}
	}
	if errors.Is(err, pgx.ErrNoRows) {
		return queue.ErrNotFound
	}
	m.n = n
	if err != nil {
		m.n = -1
	}
	return m.s.failed(ctx, err)
}

func (m *message) Read(p []byte) (int, error) {
	if m.at >= m.size {
		return 0, io.EOF
	}
	if n := m.at / chunk; n != m.n {
		if err := m.fetch(m.ctx, n); err != nil {
			return 0, err
		}
	}
	off := m.at - m.n*chunk
	if off >= int64(len(m.data)) {
		return 0, io.ErrUnexpectedEOF
	}
	n := copy(p, m.data[off:])
	m.at += int64(n)
	return n, nil
}

func (m *message) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += m.at
	case io.SeekEnd:
		offset += m.size
	}
	if offset < 0 {
		return 0, errors.New("seek before the message")
	}
	m.at = offset
	return offset, nil
}

func (m *message) Close() error {
	m.data, m.n = nil, -1
	return nil
}
