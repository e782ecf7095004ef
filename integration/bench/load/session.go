package load

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
)

// session is one client's connection.
type session struct {
	p  *prepared
	nc net.Conn
	r  *bufio.Reader
}

// failure says at which stage a session failed, and with which reply or error.
type failure struct {
	stage, what string
}

func (f *failure) Error() string { return f.stage + ": " + f.what }

func failed(stage string, err error) error {
	var f *failure
	if errors.As(err, &f) {
		return err
	}
	what := err.Error()
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		what = "eof"
	case errors.Is(err, os.ErrDeadlineExceeded):
		what = "timeout"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		what = "reset"
	case errors.Is(err, syscall.ECONNREFUSED):
		what = "refused"
	}
	return &failure{stage, what}
}

// open connects and gets as far as the first MAIL; observe is told of its phases.
func open(ctx context.Context, p *prepared, observe func(Phase, time.Time)) (*session, error) {
	began := time.Now()
	d := net.Dialer{Timeout: p.Timeout, KeepAlive: -1}
	nc, err := d.DialContext(ctx, "tcp", p.Addr)
	if err != nil {
		return nil, failed("connect", err)
	}
	_ = nc.SetDeadline(began.Add(p.Timeout))
	s := &session{p: p, nc: nc, r: bufio.NewReaderSize(nc, 4096)}
	if err := s.greet(began, observe); err != nil {
		nc.Close()
		return nil, err
	}
	return s, nil
}

func (s *session) greet(began time.Time, observe func(Phase, time.Time)) error {
	if s.p.TLS == Implicit || s.p.HTTP {
		if err := s.handshake(); err != nil {
			return err
		}
		observe(TLS, began)
	}
	if s.p.HTTP {
		observe(Connect, began)
		return nil
	}
	if err := s.expect("connect", "220"); err != nil {
		return err
	}
	observe(Connect, began)
	hello := time.Now()
	if err := s.command("ehlo", s.p.hello, "250"); err != nil {
		return err
	}
	if s.p.TLS == StartTLS {
		if err := s.command("starttls", "STARTTLS\r\n", "220"); err != nil {
			return err
		}
		if err := s.handshake(); err != nil {
			return err
		}
		if err := s.command("ehlo", s.p.hello, "250"); err != nil {
			return err
		}
		observe(TLS, hello)
	}
	if s.p.auth == "" {
		return nil
	}
	auth := time.Now()
	if err := s.command("auth", s.p.auth, "235"); err != nil {
		return err
	}
	observe(Auth, auth)
	return nil
}

func (s *session) handshake() error {
	tc := tls.Client(s.nc, s.p.tls)
	if err := tc.Handshake(); err != nil {
		return failed("handshake", err)
	}
	s.nc = tc
	s.r.Reset(tc)
	return nil
}

// send submits one message.
func (s *session) send(observe func(Phase, time.Time)) error {
	if s.p.HTTP {
		return s.sendHTTP(observe)
	}
	began := time.Now()
	if err := s.command("mail", s.p.mail, "250"); err != nil {
		return err
	}
	for _, rcpt := range s.p.rcpt {
		if err := s.command("rcpt", rcpt, "250"); err != nil {
			return err
		}
	}
	if err := s.command("data", "DATA\r\n", "354"); err != nil {
		return err
	}
	data := time.Now()
	if _, err := s.nc.Write(s.p.text); err != nil {
		return failed("text", err)
	}
	if err := s.expect("accept", "250"); err != nil {
		return err
	}
	observe(Data, data)
	observe(Message, began)
	return nil
}

func (s *session) quit() error {
	if s.p.HTTP {
		return s.nc.Close()
	}
	err := s.command("quit", "QUIT\r\n", "221")
	s.nc.Close()
	return err
}

func (s *session) command(stage, line, want string) error {
	if _, err := io.WriteString(s.nc, line); err != nil {
		return failed(stage, err)
	}
	return s.expect(stage, want)
}

// expect reads a reply, of any number of lines.
func (s *session) expect(stage, want string) error {
	for {
		line, err := s.r.ReadSlice('\n')
		if err != nil {
			return failed(stage, err)
		}
		if len(line) < 5 {
			return &failure{stage, "a short reply"}
		}
		if line[3] == '-' {
			continue
		}
		if string(line[:3]) != want {
			return &failure{stage, code(string(line))}
		}
		return nil
	}
}

// code is a reply's code, with the enhanced one if there is one.
func code(line string) string {
	f := strings.Fields(line)
	if len(f) > 1 && strings.Count(f[1], ".") == 2 && f[1][0] == f[0][0] {
		return fmt.Sprint(f[0], " ", f[1])
	}
	return f[0]
}
