package objectstore

import (
	"bufio"
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/minio/minio-go/v7"
	"go.uber.org/zap"
)

// A store that answers at once, and closes with the object unread, is heard.
func TestEarlyAnswer(t *testing.T) {
	const object, answer = 32 << 20, `<?xml version="1.0"?><Error><Code>EntityTooLarge</Code><Message>no</Message></Error>`
	for _, secured := range []bool{false, true} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		b := &Bucket{Endpoint: "http://" + l.Addr().String(), Name: "queue", AccessKey: "msa", SecretKey: "s3cret", PathStyle: true, Region: "us-east-1"}
		if secured {
			server := httptest.NewTLSServer(nil)
			defer server.Close()
			ca := filepath.Join(t.TempDir(), "ca.pem")
			if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
				t.Fatal(err)
			}
			b.Endpoint, b.CA, l = "https://"+l.Addr().String(), []string{ca}, tls.NewListener(l, server.TLS)
		}
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer c.Close()
					r := bufio.NewReader(c)
					if _, err := http.ReadRequest(r); err != nil {
						return
					}
					_, _ = io.CopyN(io.Discard, r, 1<<20)
					fmt.Fprintf(c, "HTTP/1.1 400 Bad Request\r\nContent-Type: application/xml\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(answer), answer)
				}()
			}
		}()
		if err := b.Provision(zap.NewNop(), 1); err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		for range 5 {
			_, err := b.Put(t.Context(), "message", "message/rfc822", strings.NewReader(strings.Repeat("x", object)), object)
			if minio.ToErrorResponse(err).Code != minio.EntityTooLarge {
				t.Errorf("TLS %v: %v", secured, err)
			}
		}
	}
}
