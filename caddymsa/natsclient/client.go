// Package natsclient connects to NATS, for whatever publishes to it.
package natsclient

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
)

// Config is where and how to publish.
type Config struct {
	// URLs of the servers of one cluster, such as tls://nats.example.org:4222. Required.
	URLs []string `json:"urls,omitempty"`
	// Subject that is published to. Required.
	Subject string `json:"subject,omitempty"`
	// Stream that must be the one that stores it. Default: whichever has the subject.
	Stream string `json:"stream,omitempty"`
	// Core publishes without JetStream. Nobody says then whether anybody has it: without a
	// subscriber at that moment it is lost.
	Core bool `json:"core,omitempty"`
	// Credentials is a file with a JWT and its key, as nsc makes them. Default: none.
	Credentials string `json:"credentials,omitempty"`
	// Username and Password, or a Token, in the place of Credentials.
	Username string      `json:"username,omitempty"`
	Password conf.Secret `json:"password,omitempty"`
	Token    conf.Secret `json:"token,omitempty"`
	conf.TLSClient
	// Timeout is how long storing may take; connecting may take as long, and 5s at most. Default: 30s.
	Timeout conf.Duration `json:"timeout,omitempty"`
}

// Settings are the lines of a Caddyfile block:
//
//	subject            <subject>
//	stream             <name>
//	core
//	credentials        <file>
//	username           <name>
//	password           <password>
//	token              <token>
//	ca                 <pem_file...>
//	server_name        <name>
//	client_certificate <certificate_file> <key_file>
//	timeout            <duration>
func (c *Config) Settings() []conf.Setting {
	return append(c.TLSClient.Settings(),
		conf.Text("subject", &c.Subject),
		conf.Text("stream", &c.Stream),
		conf.Flag("core", &c.Core),
		conf.Text("credentials", &c.Credentials),
		conf.Text("username", &c.Username),
		conf.Value("password", &c.Password),
		conf.Value("token", &c.Token),
		conf.Value("timeout", &c.Timeout),
	)
}

// Client publishes to one subject. It is safe for concurrent use.
type Client struct {
	urls    string
	subject string
	stream  string
	core    bool
	timeout time.Duration
	options []nats.Option
	connect func(urls string, options ...nats.Option) (*nats.Conn, error) // nats.Connect

	mu      sync.Mutex
	conn    *nats.Conn
	attempt *attempt // under way
	closed  bool
}

// Open checks the configuration and sets the defaults. It does not connect. what is published is for the log.
func (c *Config) Open(what string, log *zap.Logger) (*Client, error) {
	if len(c.URLs) == 0 {
		return nil, errors.New("a URL is required, such as tls://nats.example.org:4222")
	}
	if err := conf.ExpandAll(conf.PlaceList("url", c.URLs), conf.Place("subject", &c.Subject), conf.Place("stream", &c.Stream),
		conf.Place("credentials", &c.Credentials), conf.Place("username", &c.Username)); err != nil {
		return nil, err
	}
	if c.Subject == "" || strings.ContainsAny(c.Subject, "*> \t\r\n") || slices.Contains(strings.Split(c.Subject, "."), "") {
		return nil, fmt.Errorf("subject: %q cannot be published to; use one without wildcards, such as mail.incoming", c.Subject)
	}
	if c.Core && c.Stream != "" {
		return nil, errors.New("core publishes without JetStream: remove it, or stream")
	}
	if err := c.oneAccount(); err != nil {
		return nil, err
	}
	if err := conf.SetDefault(&c.Timeout, conf.Duration(30*time.Second), "timeout"); err != nil {
		return nil, err
	}
	secured := (c.Credentials != "") || c.Username != "" || c.Token != ""
	for _, text := range c.URLs {
		u, err := url.Parse(text)
		if err != nil || u.Host == "" || u.Scheme != "nats" && u.Scheme != "tls" {
			return nil, fmt.Errorf("url: %q is not a NATS URL, such as tls://nats.example.org:4222", text)
		}
		if u.User != nil {
			return nil, errors.New("url: set username and password, or token, which are not logged")
		}
		if u.Scheme == "nats" && !conf.IsLoopback(u.Hostname()) {
			if secured && c.Credentials == "" {
				return nil, fmt.Errorf("url: the password would go to %s in clear; use tls://%s", u.Host, u.Host)
			}
			if c.TLSClient.IsZero() {
				log.Warn(what+" may go to the NATS server in clear; tls:// makes sure that they do not", zap.String("server", u.Host))
			}
		}
	}
	if c.Core {
		log.Warn(what+" are published without JetStream: one that nobody subscribes to at that moment is lost", zap.String("subject", c.Subject))
	}
	options, err := c.options(log)
	if err != nil {
		return nil, err
	}
	return &Client{urls: strings.Join(c.URLs, ","), subject: c.Subject, stream: c.Stream, core: c.Core, timeout: time.Duration(c.Timeout), options: options, connect: nats.Connect}, nil
}

// oneAccount refuses what would not be used, and a file that is not there, which would hold up all messages.
func (c *Config) oneAccount() error {
	switch {
	case c.Password != "" && c.Username == "":
		return errors.New("password goes with username, which is missing")
	case c.Credentials != "" && c.Username != "", c.Credentials != "" && c.Token != "", c.Username != "" && c.Token != "":
		return errors.New("credentials, username and token are three ways to log in: keep one of them")
	case c.Credentials == "":
		return nil
	}
	file, err := os.Open(c.Credentials)
	if err != nil {
		return fmt.Errorf("credentials: %w", err)
	}
	return file.Close()
}

func (c *Config) options(log *zap.Logger) ([]nats.Option, error) {
	options := []nats.Option{
		nats.Name("caddy-msa"), nats.Timeout(min(time.Duration(c.Timeout), 5*time.Second)), nats.MaxReconnects(-1), nats.ReconnectWait(time.Second),
		nats.ReconnectBufSize(-1), // what cannot be sent now is tried again by whoever publishes
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				log.Warn("connection to NATS lost", zap.Error(err))
			}
		}),
		nats.ErrorHandler(func(conn *nats.Conn, _ *nats.Subscription, err error) {
			log.Error("NATS", zap.Error(err))
			if isDenied(err) { // there will be no answer to wait for
				conn.Close()
			}
		}),
	}
	if c.Credentials != "" {
		options = append(options, nats.UserCredentials(c.Credentials))
	}
	password, err := c.Password.Resolve("password", log)
	if err != nil {
		return nil, err
	}
	token, err := c.Token.Resolve("token", log)
	if err != nil {
		return nil, err
	}
	if c.Username != "" {
		options = append(options, nats.UserInfo(c.Username, password.Value()))
	}
	if c.Token != "" {
		options = append(options, nats.Token(token.Value()))
	}
	if !c.TLSClient.IsZero() {
		config, err := c.TLSClient.Config()
		if err != nil {
			return nil, err
		}
		options = append(options, nats.Secure(config)) // whatever the URL says
	}
	return options, nil
}

// Name is where it publishes.
func (c *Client) Name() string { return c.urls + " " + c.subject }

// Subject that it publishes to.
func (c *Client) Subject() string { return c.subject }

// Peer says who is at the other end of a connection, and with what TLS.
func Peer(conn *nats.Conn) (host, address, secured string) {
	if state, err := conn.TLSConnectionState(); err == nil {
		secured = tls.VersionName(state.Version) + " " + tls.CipherSuiteName(state.CipherSuite)
	}
	return conn.ConnectedServerName(), conn.ConnectedAddr(), secured
}
