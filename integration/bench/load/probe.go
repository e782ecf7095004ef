package load

import (
	"context"
	"encoding/base64"
	"strings"
	"time"
)

// Probe is a connection within TLS on which AUTH can be said again and again.
type Probe struct{ s *session }

// OpenProbe connects to o.Addr.
func OpenProbe(ctx context.Context, o Options) (*Probe, error) {
	o.User, o.From, o.Sessions = "", "probe@example.com", 1
	p, err := o.prepare()
	if err != nil {
		return nil, err
	}
	s, err := open(ctx, p, func(Phase, time.Time) {})
	if err != nil {
		return nil, err
	}
	return &Probe{s}, nil
}

// Auth says AUTH PLAIN, and returns the reply's code and how long it took.
func (p *Probe) Auth(user, password string) (code string, took time.Duration, err error) {
	_ = p.s.nc.SetDeadline(time.Now().Add(p.s.p.Timeout))
	line := "AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00"+user+"\x00"+password)) + "\r\n"
	began := time.Now()
	if _, err := p.s.nc.Write([]byte(line)); err != nil {
		return "", 0, failed("auth", err)
	}
	reply, err := p.s.r.ReadString('\n')
	if err != nil {
		return "", 0, failed("auth", err)
	}
	code, _, _ = strings.Cut(reply, " ")
	return code, time.Since(began), nil
}

// Close ends the connection.
func (p *Probe) Close() { p.s.nc.Close() }
