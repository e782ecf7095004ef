// Package webcall calls the web services that log-ins and policies ask and sinks deliver to: one place for TLS,
// tokens, signatures and bounds. It follows no redirects and knows no proxies.
package webcall

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
)

// SignatureHeader carries t=<seconds since 1970>,v1=<hexadecimal HMAC-SHA256 of t, ".", body>.
const SignatureHeader = "MSA-Signature"

// Config is how to reach a web service.
type Config struct {
	// URL of the service. Required: https, or http on this machine.
	URL string `json:"url,omitempty"`
	// Socket is the path of a unix socket on which the service listens.
	Socket string `json:"socket,omitempty"`
	// Bearer is a token for the Authorization header.
	Bearer conf.Secret `json:"bearer,omitempty"`
	// HMACKey signs each request, in the header MSA-Signature: t=<seconds since 1970>,v1=<hexadecimal
	// HMAC-SHA256 of t, ".", body>.
	HMACKey conf.Secret `json:"hmac_key,omitempty"`
	conf.TLSClient
	// InsecurePlaintext allows http to another machine, where everybody in between can read it.
	InsecurePlaintext bool `json:"insecure_plaintext,omitempty"`
	// Headers are sent with each request. Placeholders are resolved when the config is loaded.
	Headers map[string]string `json:"headers,omitempty"`
	// Literal says that the URL is a stranger's: it has no placeholders, which could be anything of the environment, and any file.
	Literal bool `json:"-"`
	// Control, if it is set, is asked about each address that is connected to, as net.Dialer has it.
	Control func(network, address string, c syscall.RawConn) error `json:"-"`
}

// maxHeader bounds the header of an answer, in octets.
const maxHeader = 32 << 10

// Client calls one service. It is safe for concurrent use.
type Client struct {
	url       string
	name      string // for errors
	exposed   bool
	bearer    conf.Resolved
	hmacKey   conf.Resolved
	headers   http.Header
	host      string // instead of the URL's
	transport *http.Transport
	fresh     *http.Transport // of what is sent again: each request has a connection of its own
	now       func() time.Time
	noExpect  atomic.Bool // the service refuses Expect
}

// Open connects to nothing yet. connections is how many idle ones are kept.
func (c *Config) Open(log *zap.Logger, connections int) (*Client, error) {
	text := c.URL
	if !c.Literal {
		var err error
		if text, err = conf.Expand(text); err != nil {
			return nil, fmt.Errorf("url: %w", err)
		}
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http": // err has the whole text in it
		return nil, errors.New("url: an http or https URL is required, such as https://check.example.org/msa")
	case u.User != nil:
		return nil, errors.New("url: has a user or a password in it; prove who asks with bearer, hmac_key or client_certificate")
	case u.Scheme == "http" && !c.TLSClient.IsZero():
		return nil, errors.New("url: is http, and the settings are for https: ca, server_name or client_certificate")
	}
	exposed := u.Scheme == "http" && c.Socket == "" && !conf.IsLoopback(u.Hostname())
	if exposed && !c.InsecurePlaintext {
		return nil, fmt.Errorf("url: what is sent would go to %s in clear text; use https, or say insecure_plaintext", u.Host)
	}
	client := &Client{url: u.String(), name: u.Host, exposed: exposed, now: time.Now}
	if client.bearer, err = c.Bearer.Resolve("bearer", log); err != nil {
		return nil, err
	}
	if strings.ContainsFunc(client.bearer.Value(), func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return nil, errors.New("bearer: is not a token: it has a space or other character in it that a header cannot carry")
	}
	if client.hmacKey, err = c.HMACKey.Resolve("hmac_key", log); err != nil {
		return nil, err
	}
	if client.headers, err = c.header(); err != nil {
		return nil, fmt.Errorf("headers: %w", err)
	}
	client.host = client.headers.Get("Host") // net/http heeds it nowhere else
	d := &dialer{control: c.Control}
	if d.socket, err = conf.Expand(c.Socket); err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	if d.tls, err = c.TLSClient.Config(); err != nil {
		return nil, err
	}
	if d.socket != "" {
		client.name = d.socket
	}
	client.transport = &http.Transport{
		Protocols: new(http.Protocols), DialContext: d.plain, DialTLSContext: d.secure, ExpectContinueTimeout: time.Second,
		MaxIdleConns: connections, MaxIdleConnsPerHost: connections, IdleConnTimeout: time.Minute,
		MaxResponseHeaderBytes: maxHeader, DisableCompression: true,
	}
	// One request a connection: one that hangs is closed and holds up no other.
	client.transport.Protocols.SetHTTP1(true)
	client.fresh = client.transport.Clone()
	client.fresh.DisableKeepAlives = true
	return client, nil
}

// Name is the service's, for errors.
func (c *Client) Name() string { return c.name }

// Exposed tells whether everybody on the way can read what is sent.
func (c *Client) Exposed() bool { return c.exposed }

// Close closes what is idle. No request may be under way.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// Body is a request's: so many octets, which can be read more than once.
type Body struct {
	Type string // Content-Type
	Size int64
	Open func() (io.ReadCloser, error)
	// Whole makes an answer of 2yz an error that came before all of it was sent. Other answers count whenever
	// they come.
	Whole bool
}

// HeaderSize is how many octets the header of each request has beside those that Post is given: what the
// configuration says, and what HTTP wants.
func (c *Client) HeaderSize() int {
	const rest = 256 // request line, Host, Content-Length, Content-Type, User-Agent, Expect, the signature
	n := rest + len(c.url) + len(c.name)
	for name, values := range c.headers {
		for _, v := range values {
			n += len(name) + len(v) + len(": \r\n")
		}
	}
	if token := c.bearer.Value(); token != "" {
		n += len("Authorization: Bearer \r\n") + len(token)
	}
	return n
}

// expectFrom is the size from which the service is asked before the body is sent (RFC 9110 section 10.1.1).
const expectFrom = 256 << 10

// Post sends a request. The caller closes the answer's body. A status of 3yz is an error, and so is 101; every other
// is the caller's to judge.
func (c *Client) Post(ctx context.Context, header http.Header, body Body) (*http.Response, error) {
	signature, err := c.sign(body)
	if err != nil {
		return nil, err
	}
	ask := body.Size >= expectFrom && !c.noExpect.Load()
	t := &track{by: c.transport}
	resp, err := c.post(ctx, t, header, body, signature, ask)
	switch {
	case err != nil && t.stale() && ctx.Err() == nil:
		// An idle connection that the service had closed, as it may have the next one. The others are not closed here:
		// net/http calls a connection idle before it hands over an answer without a body, which would be lost.
		return c.post(ctx, &track{by: c.fresh}, header, body, signature, ask)
	case err == nil && ask && resp.StatusCode == http.StatusExpectationFailed:
		_ = resp.Body.Close()
		c.noExpect.Store(true)
		return c.post(ctx, &track{by: c.fresh}, header, body, signature, false)
	}
	return resp, err
}

func (c *Client) post(ctx context.Context, t *track, header http.Header, body Body, signature string, ask bool) (*http.Response, error) {
	file, err := body.Open()
	if err != nil {
		return nil, err
	}
	sent := &sentBody{ReadCloser: file}
	req, err := http.NewRequestWithContext(t.context(ctx), http.MethodPost, c.url, sent)
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	req.ContentLength, req.Host = body.Size, cmp.Or(c.host, req.Host)
	for _, h := range []http.Header{c.headers, header} {
		for name, values := range h {
			req.Header[name] = values
		}
	}
	req.Header.Set("Content-Type", body.Type)
	req.Header.Set("User-Agent", "caddy-msa")
	if ask {
		req.Header.Set("Expect", "100-continue")
	}
	if token := c.bearer.Value(); token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if signature != "" {
		req.Header.Set(SignatureHeader, signature)
	}
	resp, err := t.by.RoundTrip(req)
	if err != nil {
		if strings.Contains(err.Error(), "malformed") { // and what stands there may be anything
			err = errors.New("the answer is not HTTP")
		}
		return nil, c.failed(ctx, err, !t.connected() || isAlert(err))
	}
	resp.TLS = t.tls() // net/http knows no connection but its own to be one with TLS
	switch status := resp.StatusCode; {
	case status == http.StatusSwitchingProtocols: // and what follows would end with the connection alone
		err = fmt.Errorf("status %d is no answer: HTTP/1.1 was asked", status)
	case status >= 300 && status < 400:
		err = fmt.Errorf("status %d: redirects are not followed; see the URL", status)
	case body.Whole && status < 300 && (sent.octets.Load() < body.Size || t.broken()):
		err = fmt.Errorf("status %d came before the whole message was sent", status)
	default:
		return resp, nil
	}
	_ = resp.Body.Close()
	return nil, c.failed(ctx, err, false)
}

// sentBody counts what was read of it.
type sentBody struct {
	io.ReadCloser
	octets atomic.Int64
}

func (b *sentBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.octets.Add(int64(n))
	return n, err
}

// sign reads the body for its signature, if there is to be one.
func (c *Client) sign(body Body) (string, error) {
	key := c.hmacKey.Value()
	if key == "" {
		return "", nil
	}
	r, err := body.Open()
	if err != nil {
		return "", err
	}
	defer r.Close()
	t := strconv.FormatInt(c.now().Unix(), 10)
	mac := hmac.New(sha256.New, []byte(key))
	_, _ = io.WriteString(mac, t+".")
	if _, err := io.Copy(mac, r); err != nil {
		return "", err
	}
	return "t=" + t + ",v1=" + hex.EncodeToString(mac.Sum(nil)), nil
}
