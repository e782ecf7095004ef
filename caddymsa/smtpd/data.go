package smtpd

import (
	"bytes"
)

func (c *Conn) cmdDATA(arg string) error {
	if arg != "" {
		return c.bad(501, code(5, 5, 4), "DATA takes no parameters")
	}
	m, err := c.begin()
	if err != nil {
		c.abandon(err)
		return c.refused(err)
	}
	c.message = m
	c.out.line("354 End data with <CR><LF>.<CR><LF>")
	d := dotReader{lineStart: true}
	m.resume()
	for {
		m.wait()
		if c.in.buffered() == 0 || d.needsMore {
			if err := c.in.fill(); err != nil {
				return m.lost(err)
			}
		}
		if d.read(&c.in, m) {
			return m.commit()
		}
		if err := m.blocked(); err != nil {
			return err
		}
	}
}

// dotReader finds the end of data and takes the stuffed dots out (RFC 5321 section
// 4.5.2). Only CRLF.CRLF is the end: a line ends in CRLF and in nothing else.
type dotReader struct {
	lineStart bool // the octets before were CRLF, or there were none
	lastCR    bool // the octet before was a CR
	needsMore bool // what is in the buffer does not tell yet
}

// read takes what is in the buffer, up to the end of data, and tells whether it came.
func (d *dotReader) read(in *input, m interface{ write([]byte) }) bool {
	p := (*in.buf)[in.r:in.w]
	d.needsMore = false
	from := 0 // what m has not got yet
	for at := 0; at < len(p); {
		if d.lineStart && p[at] == '.' {
			rest := p[at:]
			if len(rest) < 3 && bytes.HasPrefix([]byte(".\r\n"), rest) {
				m.write(p[from:at])
				in.r += at
				d.needsMore = true
				return false
			}
			if bytes.HasPrefix(rest, []byte(".\r\n")) {
				m.write(p[from:at])
				in.r += at + 3
				return true
			}
			m.write(p[from:at])
			at++
			from, d.lineStart, d.lastCR = at, false, false
			continue
		}
		d.lineStart = false
		i := bytes.IndexByte(p[at:], '\n')
		if i < 0 {
			d.lastCR = p[len(p)-1] == '\r'
			break
		}
		if i > 0 {
			d.lastCR = p[at+i-1] == '\r'
		}
		at += i + 1
		d.lineStart, d.lastCR = d.lastCR, false
	}
	m.write(p[from:])
	in.r = in.w
	return false
}
