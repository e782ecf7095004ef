package policyclamav

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
)

// clamd speaks INSTREAM: it finds "EICAR", and refuses streams over its limit.
type clamd struct {
	address string
	limit   int
	got     atomic.Int64
	answer  func(c net.Conn) // in the place of a verdict
}

func startClamd(t testing.TB, d *clamd) *clamd {
	t.Helper()
	d.address = filepath.Join(t.TempDir(), "clamd.sock")
	l, err := net.Listen("unix", d.address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go d.serve(c)
		}
	}()
	return d
}

func (d *clamd) serve(c net.Conn) {
	defer c.Close()
	if d.answer != nil {
		d.answer(c)
		return
	}
	command := make([]byte, len("zINSTREAM\x00"))
	if _, err := io.ReadFull(c, command); err != nil || string(command) != "zINSTREAM\x00" {
		_, _ = io.WriteString(c, "UNKNOWN COMMAND\x00")
		return
	}
	var all strings.Builder
	for {
		var n uint32
		if err := binary.Read(c, binary.BigEndian, &n); err != nil {
			return
		}
		if n == 0 {
			break
		}
		if _, err := io.CopyN(&all, c, int64(n)); err != nil {
			return
		}
		if d.limit > 0 && all.Len() > d.limit {
			_, _ = io.WriteString(c, "INSTREAM size limit exceeded. ERROR\x00")
			return
		}
	}
	d.got.Store(int64(all.Len()))
	if strings.Contains(all.String(), "EICAR") {
		_, _ = io.WriteString(c, "stream: Eicar-Test-Signature FOUND\x00")
		return
	}
	_, _ = io.WriteString(c, "stream: OK\x00")
}

func open(t testing.TB, p *ClamAV) *ClamAV {
	t.Helper()
	p.ConnectTimeout = cmp.Or(p.ConnectTimeout, conf.Duration(time.Minute)) // a busy machine may not keep the default
	if err := p.Provision(msatest.Context(t)); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestConformance(t *testing.T) {
	d := startClamd(t, &clamd{limit: 1 << 20})
	msatest.Policy(t, func(t testing.TB) any { return open(t, &ClamAV{Addresses: []string{"unix/" + d.address}}) },
		msatest.PolicyCase{Name: "clean"},
		msatest.PolicyCase{Name: "malware", Message: "Subject: x\r\n\r\nEICAR\r\n", Code: 550, Status: smtp.EnhancedCode{5, 7, 1}, Rule: "Eicar-Test-Signature"},
		msatest.PolicyCase{Name: "large", Message: strings.Repeat("x", 2<<20), Code: 552, Status: smtp.EnhancedCode{5, 3, 4}, Rule: "too_large"},
	)
}

func check(p *ClamAV, octets string) error {
	m := msatest.NewMessage(octets)
	m.Prepend("X: y\r\n")
	return p.CheckMessage(context.Background(), msatest.NewSubmission("alice", ""), m)
}

// The first that can be reached is asked, and gets all of the message.
func TestFailover(t *testing.T) {
	d := startClamd(t, new(clamd))
	p := open(t, &ClamAV{Addresses: []string{"unix//nonexistent/clamd.sock", "127.0.0.1:1", "unix/" + d.address}})
	if err := check(p, strings.Repeat("x", 3*chunk+7)); err != nil {
		t.Fatal(err)
	}
	if n := d.got.Load(); n != 3*chunk+7+6 {
		t.Errorf("clamd got %d octets", n)
	}
	p = open(t, &ClamAV{Addresses: []string{"unix/" + startClamd(t, &clamd{limit: 10}).address}, TooLarge: "accept"})
	if err := check(p, strings.Repeat("x", 100)); err != nil {
		t.Error(err)
	}
}

// One that gives no verdict is asked by one message in a while; the others go to those that do.
func TestSilent(t *testing.T) {
	hang := make(chan struct{})
	defer close(hang)
	silent, sound := startClamd(t, &clamd{answer: func(net.Conn) { <-hang }}), startClamd(t, new(clamd))
	p := open(t, &ClamAV{Addresses: []string{"unix/" + silent.address, "unix/" + sound.address}})
	now := time.Now()
	p.now = func() time.Time { return now }
	for i := range 2 {
		p.Timeout = conf.Duration(50 * time.Millisecond)
		if err := check(p, "x"); err == nil {
			t.Errorf("round %d: a verdict of nobody", i)
		}
		p.Timeout = conf.Duration(30 * time.Second)
		for range 3 {
			if err := check(p, "x"); err != nil {
				t.Errorf("round %d: %v", i, err)
			}
		}
		now = now.Add(pause)
	}
	if one, others := p.order(), p.order(); one[0] != 0 || others[0] != 1 {
		t.Errorf("one asks %v, the others %v", one, others)
	}
}

// A verdict that one does not give is another's to give.
func TestNextGivesVerdict(t *testing.T) {
	closes, memory := startClamd(t, &clamd{answer: func(net.Conn) {}}), startClamd(t, &clamd{answer: func(c net.Conn) { _, _ = io.WriteString(c, "stream: Can't allocate memory ERROR\x00") }})
	p := open(t, &ClamAV{Addresses: []string{"unix/" + closes.address, "unix/" + memory.address, "unix/" + startClamd(t, new(clamd)).address}})
	for range 2 {
		if err := check(p, "x"); err != nil {
			t.Error(err)
		}
	}
	if r, ok := errors.AsType[*caddymsa.Refusal](check(p, "EICAR")); !ok || r.Rule != "Eicar-Test-Signature" {
		t.Error(r)
	}
}

// What is not a verdict is a failure, within the time allowed.
func TestFailures(t *testing.T) {
	hang := make(chan struct{})
	defer close(hang)
	for name, answer := range map[string]func(net.Conn){
		"closes": func(net.Conn) {}, "hangs": func(net.Conn) { <-hang }, "error": func(c net.Conn) { _, _ = io.WriteString(c, "stream: Can't allocate memory ERROR\x00") },
		"nothing": func(c net.Conn) { _, _ = io.WriteString(c, "\x00") }, "found nothing": func(c net.Conn) { _, _ = io.WriteString(c, "stream:  FOUND\x00") }, "half": func(c net.Conn) { _, _ = io.WriteString(c, "stream: OK") },
		"endless": func(c net.Conn) {
			for {
				if _, err := io.WriteString(c, strings.Repeat("x", 5000)); err != nil {
					return
				}
			}
		},
	} {
		d := startClamd(t, &clamd{answer: answer})
		for onFailure, want := range map[string]int{"": 0, "refuse": 554, "accept": 250} {
			p := open(t, &ClamAV{Addresses: []string{"unix/" + d.address}, OnFailure: onFailure, Timeout: conf.Duration(30 * time.Second)})
			if name == "hangs" {
				p.Timeout = conf.Duration(100 * time.Millisecond)
			}
			err := check(p, "Subject: x\r\n\r\n")
			r, refused := errors.AsType[*caddymsa.Refusal](err)
			if want == 250 && err != nil || want == 554 && (!refused || r.Code != 554) || want == 0 && (err == nil || refused) {
				t.Errorf("%s, on_failure %q: %v", name, onFailure, err)
			}
		}
	}
}

// Where the server asks no more, as at the end of a configuration, clamd has not failed: the client is to try again.
func TestGivenUp(t *testing.T) {
	hang, asked := make(chan struct{}), make(chan struct{})
	defer close(hang)
	d := startClamd(t, &clamd{answer: func(net.Conn) { asked <- struct{}{}; <-hang }})
	for _, onFailure := range caddymsa.OnFailure {
		p := open(t, &ClamAV{Addresses: []string{"unix/" + d.address}, OnFailure: onFailure})
		ctx, cancel := context.WithCancel(context.Background())
		go func() { <-asked; cancel() }()
		err := p.CheckMessage(ctx, msatest.NewSubmission("alice", ""), msatest.NewMessage("Subject: x\r\n\r\n"))
		if _, refused := errors.AsType[*caddymsa.Refusal](err); err == nil || refused {
			t.Errorf("on_failure %s: %v", onFailure, err)
		}
	}
}

// One that takes connections and answers nobody is not all right.
func TestExamine(t *testing.T) {
	hang := make(chan struct{})
	defer close(hang)
	silent := startClamd(t, &clamd{answer: func(net.Conn) { <-hang }})
	sound := startClamd(t, &clamd{answer: func(c net.Conn) {
		command := make([]byte, len("zPING\x00"))
		if _, err := io.ReadFull(c, command); err == nil && string(command) == "zPING\x00" {
			_, _ = io.WriteString(c, "PONG\x00")
		}
	}})
	for address, want := range map[string]doctor.Level{silent.address: doctor.Wrong, sound.address: doctor.OK, "/nonexistent/clamd.sock": doctor.Wrong} {
		p := open(t, &ClamAV{Addresses: []string{"unix/" + address}, ConnectTimeout: conf.Duration(30 * time.Second)})
		if address == silent.address {
			p.ConnectTimeout = conf.Duration(50 * time.Millisecond)
		}
		if found := p.Examine(context.Background(), caddymsa.Examination{}); len(found) != 1 || found[0].Level != want {
			t.Errorf("%s: %+v", address, found)
		}
	}
}

func TestBadConfig(t *testing.T) {
	for _, p := range []*ClamAV{{}, {Addresses: []string{"udp/127.0.0.1:3310"}}, {Addresses: []string{"127.0.0.1"}}, {Addresses: []string{"127.0.0.1:1-9"}}, {Addresses: []string{"127.0.0.1:1"}, TooLarge: "x"}, {Addresses: []string{"127.0.0.1:1"}, OnFailure: "x"}, {Addresses: []string{"127.0.0.1:1"}, Timeout: -1}} {
		if err := p.Provision(msatest.Context(t)); err == nil {
			t.Errorf("%+v: no error", p)
		}
	}
}

func FuzzVerdict(f *testing.F) {
	for _, s := range []string{"stream: OK", "stream: X FOUND", "stream: FOUND", " FOUND", "INSTREAM size limit exceeded. ERROR", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if found, err := verdict(s); err == nil && found == "" && s != "stream: OK" {
			t.Fatalf("%q is clean", s)
		}
	})
}

func BenchmarkClamAV(b *testing.B) {
	d := startClamd(b, new(clamd))
	p := open(b, &ClamAV{Addresses: []string{"unix/" + d.address}})
	octets := strings.Repeat("x", 4<<10)
	b.ReportAllocs()
	for b.Loop() {
		if err := check(p, octets); err != nil {
			b.Fatal(err)
		}
	}
}
