package smtpd

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
)

// mail is about n octets of lines as mail has them.
func mail(n int) []byte {
	line := strings.Repeat("x", 76) + "\r\n"
	return []byte(strings.Repeat(line, n/len(line)))
}

func BenchmarkData(b *testing.B) {
	text := mail(1 << 20)
	octets := slicesConcat([]byte(envelope+"DATA\r\n"), text, []byte(".\r\nQUIT\r\n"))
	benchmarkSession(b, octets, int64(len(text)))
}

func BenchmarkBDAT(b *testing.B) {
	text := mail(1 << 20)
	octets := slicesConcat(fmt.Appendf(nil, "%sBDAT %d LAST\r\n", envelope, len(text)), text, []byte("QUIT\r\n"))
	benchmarkSession(b, octets, int64(len(text)))
}

// BenchmarkSession is one small message, without TLS's part in it.
func BenchmarkSession(b *testing.B) {
	octets := []byte("EHLO client.example\r\n" + envelope + "DATA\r\nFrom: a\r\n\r\nHello\r\n.\r\nQUIT\r\n")
	benchmarkSession(b, octets, 0)
}

func slicesConcat(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func benchmarkSession(b *testing.B, octets []byte, size int64) {
	back := newBackend()
	back.discard = true
	b.ReportAllocs()
	b.SetBytes(size)
	for b.Loop() {
		back.ends = back.ends[:0]
		if end := serveMem(back, atReady, &memConn{in: octets, mute: true}); end.Reason != EndQuit {
			b.Fatalf("ended as %+v", end)
		}
	}
}

func BenchmarkDotReader(b *testing.B) {
	text := slicesConcat(mail(1<<20), []byte(".\r\n"))
	sink := new(nothing)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		in, d := reader(text, nil), dotReader{lineStart: true}
		for {
			if in.buffered() == 0 || d.needsMore {
				if err := in.fill(); err != nil {
					b.Fatal(err)
				}
			}
			if d.read(in, sink) {
				break
			}
		}
		in.release()
	}
}

type nothing struct{}

func (*nothing) write([]byte) {}

// BenchmarkIdle is the memory of a thousand authenticated TLS sessions that wait for a command. The
// clients are another process, so what is counted is the server's.
func BenchmarkIdle(b *testing.B) {
	const sessions = 1000
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	back := newBackend()
	back.discard = true
	for b.Loop() {
		before := memory(b)
		go func() {
			for range sessions {
				nc, err := ln.Accept()
				if err != nil {
					return
				}
				go New(nc, back, true, Options{}).Serve()
			}
		}()
		cmd := exec.Command(os.Args[0], "-test.run", "^TestIdleClients$")
		cmd.Env = append(os.Environ(), "SMTPD_IDLE="+ln.Addr().String()+" "+strconv.Itoa(sessions))
		cmd.Stderr = os.Stderr
		in, _ := cmd.StdinPipe()
		out, _ := cmd.StdoutPipe()
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		if line, err := bufio.NewReader(out).ReadString('\n'); line != "idle\n" {
			b.Fatalf("the clients said %q, %v", line, err)
		}
		after := memory(b)
		b.ReportMetric(float64(after.heap-before.heap)/sessions/1024, "heapKiB/session")
		b.ReportMetric(float64(after.stack-before.stack)/sessions/1024, "stackKiB/session")
		b.ReportMetric(float64(after.rss-before.rss)/sessions/1024, "rssKiB/session")
		_ = in.Close()
		_ = cmd.Wait()
	}
}

type footprint struct{ heap, stack, rss int64 }

func memory(b *testing.B) footprint {
	b.Helper()
	runtime.GC()
	runtime.GC() // pools are emptied by the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	f := footprint{heap: int64(m.HeapAlloc), stack: int64(m.StackInuse)}
	status, err := os.ReadFile("/proc/self/statm")
	if fields := strings.Fields(string(status)); err == nil && len(fields) > 1 {
		pages, _ := strconv.ParseInt(fields[1], 10, 64)
		f.rss = pages * int64(os.Getpagesize())
	}
	return f
}

// TestIdleClients is the other process of BenchmarkIdle.
func TestIdleClients(t *testing.T) {
	addr, count, ok := strings.Cut(os.Getenv("SMTPD_IDLE"), " ")
	if !ok {
		t.Skip("is run by BenchmarkIdle")
	}
	n, _ := strconv.Atoi(count)
	conns := make([]net.Conn, n)
	for i := range conns {
		conn, err := tls.Dial("tcp", addr, clientTLS())
		if err != nil {
			t.Fatal(err)
		}
		conns[i] = conn
		if _, err := io.WriteString(conn, "EHLO c\r\n"+login+"\r\n"); err != nil {
			t.Fatal(err)
		}
		for r := bufio.NewReader(conn); ; {
			line, err := r.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(line, "235") {
				break
			}
		}
	}
	fmt.Println("idle")
	_, _ = io.Copy(io.Discard, os.Stdin)
	runtime.KeepAlive(conns)
}

// BenchmarkSessionTLS is a session as it comes, on the loopback: STARTTLS, AUTH, one small message, with the
// client's part in it. A 40 ms step here would be Nagle's algorithm against a delayed ACK.
func BenchmarkSessionTLS(b *testing.B) {
	back := newBackend()
	back.discard = true
	for b.Loop() {
		x := &client{t: b, b: back, done: make(chan struct{})}
		server, raw := socketPair(b)
		x.raw, x.nc, x.r = raw, raw, bufio.NewReader(raw)
		go func() {
			defer close(x.done)
			New(server, back, false, Options{}).Serve()
		}()
		x.play("S: 220 *\nC: EHLO c\nS: 250-*\nS: ...\nC: STARTTLS\nS: 220 *\nTLS\nC: EHLO c\nS: 250-*\nS: ...\nC: " + login + "\nS: 235 *")
		x.play("C: MAIL FROM:<a@example.org>\nS: 250 *\nC: RCPT TO:<b@example.net>\nS: 250 *\nC: DATA\nS: 354 *\nC> x\\r\\n.\\r\\n\n" + queued + "\nC: QUIT\nS: 221 *\nEOF")
		<-x.done
		_ = raw.Close()
	}
}
