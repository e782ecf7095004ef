package httpsubmit

import (
	"context"
	"io"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// leaving is a client that goes away once it has sent its last octet.
type leaving struct {
	io.Reader
	leave context.CancelFunc
}

func (l leaving) Read(p []byte) (int, error) {
	n, err := l.Reader.Read(p)
	if err == io.EOF {
		l.leave()
	}
	return n, err
}

// A message that has come whole is accepted or not, whether or not its client waits, as by SMTP: what is delivered at once
// may be with the next hop already.
func TestClientLeaves(t *testing.T) {
	for kind, body := range map[string]string{"message/rfc822": letter, "application/json": `{"from":"alice@example.org","to":"bob@example.net","text":"x"}`} {
		f, h := serve(t)
		ctx, leave := context.WithCancel(context.Background())
		target := "/send/"
		if body == letter {
			target += envelope
		}
		r := httptest.NewRequest("POST", "https://mail.example.org"+target, leaving{strings.NewReader(body), leave}).WithContext(ctx)
		r.Header.Set("Content-Type", kind)
		r.SetBasicAuth("alice", "secret")
		w := httptest.NewRecorder()
		if err := h.ServeHTTP(w, r, nil); err != nil || w.Code != 202 || len(f.messages) != 1 {
			t.Errorf("%s: %d %s, %v", kind, w.Code, w.Body, err)
		}
	}
}

// Who leaves while we ask whether the password is right, or what became of a message, is no fault of ours.
func TestLeavingIsNoFault(t *testing.T) {
	f, h := serve(t)
	core, logs := observer.New(zap.ErrorLevel)
	h.log = zap.New(core)
	ctx, leave := context.WithCancel(context.Background())
	leave()
	r := httptest.NewRequest("GET", "https://mail.example.org/send/Q1", nil).WithContext(ctx)
	r.SetBasicAuth("alice", "secret")
	if err := h.ServeHTTP(httptest.NewRecorder(), r, nil); err != nil || logs.Len() > 0 {
		t.Error(err, logs.All())
	}
	if len(f.logins) != 1 {
		t.Errorf("logins %q", f.logins)
	}
}

// HTTP/3 ends a body that is shorter than its Content-Length says as if it were whole.
func TestShort(t *testing.T) {
	f, h := serve(t)
	for target, body := range map[string]string{"/send/" + envelope: letter, "/send/?envelope=header": letter, "/send/": `{"from":"alice@example.org","to":"bob@example.net","text":"x"}`} {
		r := httptest.NewRequest("POST", "https://mail.example.org"+target, strings.NewReader(body))
		r.ContentLength += 3
		r.SetBasicAuth("alice", "secret")
		r.Header.Set("Content-Type", "message/rfc822")
		if body != letter {
			r.Header.Set("Content-Type", "application/json")
		}
		w := httptest.NewRecorder()
		if err := h.ServeHTTP(w, r, nil); err != nil || w.Code != 408 || len(f.messages) > 0 {
			t.Errorf("%s: %d %s, %v", target, w.Code, w.Body, err)
		}
	}
}
