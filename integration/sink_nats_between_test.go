package integration

import (
	"bytes"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
)

// wire is a proxy before a server. When one side says what it waits for, it acts and cuts the connection instead of passing that on.
type wire struct {
	net.Listener
	server string

	mu     sync.Mutex
	toward string // what a client says, or the server, after which it acts; once
	says   []byte
	act    func()
}

func newWire(t *testing.T, server string) *wire {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	w := &wire{Listener: l, server: server}
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go w.join(client)
		}
	}()
	return w
}

func (w *wire) when(toward string, says string, act func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.toward, w.says, w.act = toward, []byte(says), act
}

func (w *wire) join(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", w.server)
	if err != nil {
		return
	}
	defer server.Close()
	done := make(chan struct{}, 2)
	pass := func(from, to net.Conn, toward string) {
		defer func() { done <- struct{}{} }()
		b := make([]byte, 1<<20)
		for {
			n, err := from.Read(b)
			if n > 0 && w.acts(toward, b[:n]) {
				return
			}
			if _, werr := to.Write(b[:n]); werr != nil || err == io.EOF || err != nil {
				return
			}
		}
	}
	go pass(client, server, "server")
	go pass(server, client, "client")
	<-done
}

func (w *wire) acts(toward string, b []byte) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.act == nil || toward != w.toward || !bytes.Contains(b, w.says) {
		return false
	}
	w.act()
	w.act = nil
	return true
}

// nats-server is killed, and stopped, between a publication and its acknowledgement: each message is in the stream once.
func TestNATSBetween(t *testing.T) {
	t.Parallel()
	d, address, js := startNATS(t)
	w := newWire(t, address)
	s := start(t, layout{msa: `
	deliver nats nats://` + w.Addr().String() + ` {
		subject mail.incoming
		stream  MAIL
		timeout 10s
	}
	queue {
		retry 300ms
		probe 300ms 1s
	}`})
	stored := func(subject string) (n int) {
		stream, err := js.Stream(t.Context(), "MAIL")
		if err != nil {
			return 0
		}
		for i := uint64(1); ; i++ {
			m, err := stream.GetMsg(t.Context(), i)
			if err != nil {
				return n
			}
			if bytes.HasSuffix(m.Data, []byte("\r\n"+letter(subject))) {
				n++
			}
		}
	}
	trust := s.tlsConfig()
	const publication, acknowledgement = "HPUB ", `"stream":"MAIL"`
	for _, tt := range []struct {
		subject, toward, says string
		signal                syscall.Signal
	}{
		{"killed before it was read", "server", publication, syscall.SIGKILL},
		{"killed before it was acknowledged", "client", acknowledgement, syscall.SIGKILL},
		{"stopped before it was read", "server", publication, syscall.SIGSTOP},
		{"stopped before it was acknowledged", "client", acknowledgement, syscall.SIGSTOP},
	} {
		acted := make(chan struct{})
		w.when(tt.toward, tt.says, func() {
			d.signal(tt.signal)
			close(acted)
		})
		id := s.mustSend(trust, "alice@example.org", "alice@example.org", "bob@example.net", letter(tt.subject))
		await(t, "the moment "+tt.subject, func() bool {
			select {
			case <-acted:
				return true
			default:
				return false
			}
		})
		s.logged(id, "delivery deferred")
		if tt.signal == syscall.SIGKILL {
			d.run()
		} else {
			d.signal(syscall.SIGCONT)
		}
		s.logged(id, "delivery delivered")
		if n := stored(tt.subject); n != 1 {
			t.Errorf("%s: it is there %d times", tt.subject, n)
		}
	}
}
