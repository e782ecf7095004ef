package objectstore

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"go.uber.org/zap"
)

// A store that stops in the midst of an object, as one does that hangs, ends the reading of it, and with that the delivery.
func TestStalls(t *testing.T) {
	const object = 1 << 20
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Has("location") {
			_, _ = io.WriteString(w, `<LocationConstraint xmlns="http://s3.amazonaws.com/doc/2006-03-01/"></LocationConstraint>`)
			return
		}
		w.Header().Set("Content-Length", strconv.Itoa(object))
		w.Header().Set("ETag", `"x"`)
		w.Header().Set("Last-Modified", "Mon, 23 Nov 2026 10:00:00 GMT")
		_, _ = w.Write(make([]byte, object/2))
		w.(http.Flusher).Flush()
		<-release
	}))
	defer server.Close()
	defer close(release)
	b := &Bucket{Endpoint: server.URL, Name: "queue", AccessKey: "msa", SecretKey: "s3cret", PathStyle: true}
	if err := b.Provision(zap.NewNop(), 1); err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	b.transport.DialContext = dialer(new(net.Dialer).DialContext, 100*time.Millisecond)
	m, err := b.Open(t.Context(), "message")
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	n, err := io.Copy(io.Discard, m)
	var late net.Error
	if n == object || !errors.As(err, &late) || !late.Timeout() {
		t.Errorf("%d octets, %v", n, err)
	}
}
