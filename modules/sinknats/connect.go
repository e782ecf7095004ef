package sinknats

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
)

func (s *NATS) provision() error {
	if len(s.URLs) == 0 {
		return errors.New("a URL is required, such as tls://nats.example.org:4222")
	}
	if s.Subject == "" || strings.ContainsAny(s.Subject, "*> \t\r\n") || slices.Contains(strings.Split(s.Subject, "."), "") {
		return fmt.Errorf("subject: %q cannot be published to; use one without wildcards, such as mail.incoming", s.Subject)
	}
	if s.Core && s.Stream != "" {
		return errors.New("core publishes without JetStream: remove it, or stream")
	}
	if s.Timeout < 0 || s.Concurrency < 0 {
		return errors.New("timeout and concurrency must be positive")
	}
	if s.Timeout == 0 {
		s.Timeout = conf.Duration(30 * time.Second)
	}
	if s.Concurrency == 0 {
		s.Concurrency = 8
	}
	secured := (s.Credentials != "") || s.Username != "" || s.Token != ""
	for _, text := range s.URLs {
		u, err := url.Parse(text)
		if err != nil || u.Host == "" || u.Scheme != "nats" && u.Scheme != "tls" {
			return fmt.Errorf("url: %q is not a NATS URL, such as tls://nats.example.org:4222", text)
		}
		if u.User != nil {
			return errors.New("url: set username and password, or token, which are not logged")
		}
		if u.Scheme == "nats" && !conf.IsLoopback(u.Hostname()) {
			if secured && s.Credentials == "" {
				return fmt.Errorf("url: the password would go to %s in clear; use tls://%s", u.Host, u.Host)
			}
			s.log.Warn("messages may go to the NATS server in clear; tls:// makes sure that they do not", zap.String("server", u.Host))
		}
	}
	if s.Core {
		s.log.Warn("messages are published without JetStream: one that nobody subscribes to at that moment is lost", zap.String("subject", s.Subject))
	}
	return s.provisionOptions()
}

func (s *NATS) provisionOptions() error {
	s.options = []nats.Option{
		nats.Name("caddy-msa"), nats.Timeout(min(time.Duration(s.Timeout), 5*time.Second)), nats.MaxReconnects(-1), nats.ReconnectWait(time.Second),
		nats.ReconnectBufSize(-1), // what cannot be sent now is tried again by the queue
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				s.log.Warn("connection to NATS lost", zap.Error(err))
			}
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { s.log.Error("NATS", zap.Error(err)) }),
	}
	if s.Credentials != "" {
		s.options = append(s.options, nats.UserCredentials(s.Credentials))
	}
	password, err := s.Password.Resolve("password", s.log)
	if err != nil {
		return err
	}
	token, err := s.Token.Resolve("token", s.log)
	if err != nil {
		return err
	}
	if s.Username != "" {
		s.options = append(s.options, nats.UserInfo(s.Username, password.Value()))
	}
	if s.Token != "" {
		s.options = append(s.options, nats.Token(token.Value()))
	}
	if !s.TLSClient.IsZero() {
		c, err := s.TLSClient.Config()
		if err != nil {
			return err
		}
		s.options = append(s.options, func(o *nats.Options) error { o.TLSConfig = c; return nil })
	}
	return nil
}

// connect returns the connection, which mends itself once it was there.
func (s *NATS) connect() (*nats.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil && !s.conn.IsClosed() {
		if !s.conn.IsConnected() {
			return nil, errors.Join(errors.New("not connected"), s.conn.LastError())
		}
		return s.conn, nil
	}
	conn, err := nats.Connect(strings.Join(s.URLs, ","), s.options...)
	if err != nil {
		return nil, err
	}
	if s.closed { // a delivery that was under way ends with its own
		time.AfterFunc(2*time.Duration(s.Timeout), conn.Close)
		return conn, nil
	}
	s.conn = conn
	return conn, nil
}
