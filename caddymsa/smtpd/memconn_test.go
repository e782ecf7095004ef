package smtpd

import (
	"bytes"
	"io"
	"net"
	"time"
)

// memConn gives a session its octets in pieces, and keeps what it says.
type memConn struct {
	in     []byte
	pieces []byte // lengths of the reads, round and round; 0 and none stand for all
	at     int
	out    bytes.Buffer
	mute   bool // keep nothing
	writes int
}

func (m *memConn) Read(p []byte) (int, error) {
	if len(m.in) == 0 {
		return 0, io.EOF
	}
	n := len(m.in)
	if len(m.pieces) > 0 {
		if l := int(m.pieces[m.at%len(m.pieces)]); l > 0 {
			n = min(n, l)
		}
		m.at++
	}
	n = copy(p[:min(n, len(p))], m.in)
	m.in = m.in[n:]
	return n, nil
}

func (m *memConn) Write(p []byte) (int, error) {
	m.writes++
	if !m.mute {
		m.out.Write(p)
	}
	return len(p), nil
}

func (*memConn) Close() error                     { return nil }
func (*memConn) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (*memConn) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (*memConn) SetDeadline(time.Time) error      { return nil }
func (*memConn) SetReadDeadline(time.Time) error  { return nil }
func (*memConn) SetWriteDeadline(time.Time) error { return nil }

// serveMem runs a session of the given stage on octets in memory.
func serveMem(b *backend, at stage, nc *memConn) End {
	c := New(nc, b, false, Options{})
	preset(c, at)
	c.Serve()
	return b.ends[len(b.ends)-1]
}

// reader is an input on octets in memory.
func reader(octets, pieces []byte) *input {
	c := New(&memConn{in: octets, pieces: pieces}, newBackend(), false, Options{})
	return &c.in
}
