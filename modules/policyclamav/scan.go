package policyclamav

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-msa/caddy-msa/caddymsa"
)

var (
	errMessage  = errors.New("read message")
	errTooLarge = errors.New("clamd: the message is longer than its StreamMaxLength")
)

// chunk is how much goes to clamd at once.
const chunk = 64 << 10

// maxReply bounds clamd's answer.
const maxReply = 4096

// pause is how long one that gave no verdict is left to the last.
const pause = time.Minute

// scan returns the name of what clamd found, or nothing. Of several the first counts that gives a verdict.
func (p *ClamAV) scan(parent context.Context, m *caddymsa.Message) (found string, err error) {
	ctx, cancel := context.WithTimeoutCause(parent, time.Duration(p.Timeout), fmt.Errorf("clamd: no verdict within %v", time.Duration(p.Timeout)))
	defer cancel()
	var errs []error
	for _, i := range p.order() {
		found, err := p.ask(ctx, p.addresses[i], m)
		switch {
		case err == nil || errors.Is(err, errTooLarge):
			p.silent[i].Store(0)
			return found, err
		case errors.Is(err, errMessage) || parent.Err() != nil: // which is no fault of clamd's
			return "", err
		}
		p.silent[i].Store(p.now().Add(pause).UnixNano())
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	return "", errors.Join(errs...)
}

// order has those last that gave no verdict a moment ago: one that hangs would cost each message its timeout. When it is time to
// ask one again, one message does.
func (p *ClamAV) order() []int {
	now := p.now()
	var first, last []int
	for i := range p.addresses {
		if until := p.silent[i].Load(); until == 0 || now.UnixNano() >= until && p.silent[i].CompareAndSwap(until, now.Add(pause).UnixNano()) {
			first = append(first, i)
		} else {
			last = append(last, i)
		}
	}
	return append(first, last...)
}

// ask has one clamd look. The protocol is INSTREAM of clamd(8): chunks behind their lengths, and one of length zero.
func (p *ClamAV) ask(ctx context.Context, address caddy.NetworkAddress, m *caddymsa.Message) (found string, err error) {
	c, err := dial(ctx, address, time.Duration(p.ConnectTimeout))
	if err != nil {
		return "", fmt.Errorf("clamd: %w", err)
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	sent := send(c, m)
	if errors.Is(sent, errMessage) {
		return "", sent
	}
	// When clamd has had enough it says so, and closes: what it says counts more than that it closed.
	reply, err := bufio.NewReader(io.LimitReader(c, maxReply)).ReadString(0)
	if err != nil {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		return "", fmt.Errorf("clamd: %w", errors.Join(sent, err))
	}
	return verdict(strings.TrimSuffix(reply, "\x00"))
}

func dial(ctx context.Context, a caddy.NetworkAddress, timeout time.Duration) (net.Conn, error) {
	d := net.Dialer{Timeout: timeout}
	if a.IsUnixNetwork() {
		return d.DialContext(ctx, "unix", a.Host)
	}
	return d.DialContext(ctx, "tcp", a.JoinHostPort(0))
}

// send writes the message with what policies have put before it.
func send(c net.Conn, m *caddymsa.Message) error {
	r, err := m.Open()
	if err != nil {
		return fmt.Errorf("%w: %w", errMessage, err)
	}
	defer r.Close()
	if _, err := io.WriteString(c, "zINSTREAM\x00"); err != nil {
		return err
	}
	all := io.MultiReader(strings.NewReader(string(m.Prepended())), r)
	buf := make([]byte, 4+chunk)
	for {
		n, err := io.ReadFull(all, buf[4:])
		if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
			return fmt.Errorf("%w: %w", errMessage, err)
		}
		binary.BigEndian.PutUint32(buf, uint32(n))
		if n > 0 {
			if _, err := c.Write(buf[:4+n]); err != nil {
				return err
			}
		}
		if err != nil {
			_, err := c.Write([]byte{0, 0, 0, 0})
			return err
		}
	}
}

// verdict reads "stream: OK", "stream: <name> FOUND" and "... ERROR".
func verdict(reply string) (found string, err error) {
	text := strings.TrimPrefix(reply, "stream: ")
	if name, ok := strings.CutSuffix(text, " FOUND"); ok && name != "" && text != reply {
		return name, nil
	}
	switch {
	case reply == "stream: OK":
		return "", nil
	case strings.Contains(reply, "size limit exceeded"):
		return "", errTooLarge
	}
	return "", fmt.Errorf("clamd: it says %.200q", reply)
}
