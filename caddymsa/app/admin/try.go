package admin

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"
	"unicode"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"google.golang.org/grpc/test/bufconn"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
	"github.com/caddy-msa/caddy-msa/caddymsa/dialogue"
	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
	"github.com/caddy-msa/caddy-msa/caddymsa/running"
)

const (
	maxTried = 10
	tryStep  = 30 * time.Second // for each step of the dialogue
	tryTime  = 90 * time.Second // for all
)

// tryMessage answers POST /msa/try/message: it submits a message over a connection within the process, from 127.0.0.1.
func tryMessage(ctx context.Context, p *Part, q *adminapi.TryMessage) (*adminapi.TriedMessage, error) {
	if q.From == "" {
		q.From = q.User
	}
	if err := checkTry(p, q); err != nil {
		return nil, caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: err}
	}
	server, ok := running.Server[running.Connections](q.Server)
	if !ok {
		return nil, caddy.APIError{HTTPStatus: http.StatusServiceUnavailable, Err: errors.New("the configuration is being replaced, try again")}
	}
	ctx, cancel := context.WithTimeout(ctx, tryTime)
	defer cancel()
	// It has a buffer, unlike net.Pipe, on which both sides would say goodbye in TLS and wait 5 s, as crypto/tls does, for the other to read it.
	within := bufconn.Listen(64 << 10)
	defer within.Close()
	go func() {
		if far, err := within.Accept(); err == nil {
			server.ServeConn(running.Handed{Conn: local{far}, Implicit: !q.StartTLS})
		}
	}()
	near, err := within.DialContext(ctx)
	if err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, func() { _ = near.Close() })()
	hostname := p.server(q.Server).Hostname
	client := dialogue.Client{TLS: &tls.Config{ServerName: hostname, InsecureSkipVerify: true}, // it is this process
		Implicit: !q.StartTLS, Helo: "localhost", Host: hostname, Timeout: tryStep, User: q.User, Password: q.Password, Token: q.Token, From: q.From, To: q.To}
	var out bytes.Buffer
	err = client.Send(near, testMessage(q, hostname), &out)
	answer := &adminapi.TriedMessage{Dialogue: strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")}
	for _, line := range answer.Dialogue {
		if _, id, found := strings.Cut(line, "queued as "); found && strings.HasPrefix(line, "S: 250") {
			answer.ID = id
		}
	}
	if err != nil && answer.ID == "" {
		answer.Error = err.Error()
	}
	p.Log.Info("test message", zap.String("server", q.Server), zap.String("user", q.User), zap.String("sender", q.From), zap.Strings("recipients", q.To),
		zap.String("queue_id", answer.ID), zap.String("by", OperatorOf(ctx)), zap.Error(err))
	p.noteAlone(ctx, journal.Fact{What: journal.Tried, Server: q.Server, Sender: q.From, Recipients: q.To, Count: len(q.To), Text: because("test message as "+q.User, cmp.Or(answer.Error, answer.ID))})
	return answer, nil
}

func checkTry(p *Part, q *adminapi.TryMessage) error {
	server := p.server(q.Server)
	if server == nil {
		return p.noServer(q.Server)
	}
	q.Server = server.Name
	if len(q.To) == 0 || len(q.To) > maxTried {
		return fmt.Errorf("to: name 1 to %d recipients", maxTried)
	}
	for _, text := range append([]string{q.User, q.From, q.Subject}, q.To...) {
		if len(text) > 500 || strings.ContainsFunc(text, unicode.IsControl) {
			return fmt.Errorf("%q is not text of one line, of up to 500 octets", text[:min(len(text), 500)])
		}
	}
	for _, address := range append([]string{q.From}, q.To...) {
		if strings.ContainsAny(address, "<> ") || address == "" {
			return fmt.Errorf("%q is not an address", address)
		}
	}
	return nil
}

func testMessage(q *adminapi.TryMessage, hostname string) []byte {
	subject := q.Subject
	if subject == "" {
		subject = "Test message"
	}
	return fmt.Appendf(nil, "From: <%s>\r\nTo: <%s>\r\nSubject: %s\r\nDate: %s\r\nMessage-ID: <%s@%s>\r\n\r\nSent by an administrator of %s, to see whether it arrives.\r\n",
		q.From, strings.Join(q.To, ">, <"), subject, time.Now().Format(time.RFC1123Z), rand.Text(), hostname, hostname)
}

// local is a connection from this machine.
type local struct{ net.Conn }

func (local) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }
func (local) LocalAddr() net.Addr  { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }
