package smtpd

import (
	"bytes"
	"runtime"
	"strings"
	"testing"
)

var poolsLeak bool // with -race

// mallocs counts what a session allocates, in all.
func mallocs(t *testing.T, at stage, octets []byte) (count, size uint64) {
	t.Helper()
	b := newBackend().with(func(s *Settings) { s.BadCommands, s.CommandsBeforeAuth, s.AuthFailures = 1<<30, 1<<30, 1<<30 })
	b.discard = true
	nc := &memConn{in: octets, mute: true}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	end := serveMem(b, at, nc)
	runtime.ReadMemStats(&after)
	if end.Panic != "" || end.Commands == 0 {
		t.Fatalf("ended as %+v", end)
	}
	return after.Mallocs - before.Mallocs, after.TotalAlloc - before.TotalAlloc
}

// What a stranger sends costs nothing that grows with it: a thousand times the flood allocates no more.
func TestFloodAllocatesNothing(t *testing.T) {
	if poolsLeak {
		t.Skip("cannot be counted with -race")
	}
	for name, tc := range map[string]struct {
		at    stage
		flood string
	}{
		"refused verbs":    {atClear, "RSET\r\nXYZZY\r\n\r\nVRFY x\r\n"},
		"unknown verbs":    {atClear, "VERYLONGWORDINDEED and more\r\n\x00\xff\r\n"},
		"NOOP":             {atClear, "NOOP\r\n"},
		"long lines":       {atClear, strings.Repeat("x", 60000) + "\r\n"},
		"bare LF":          {atClear, "x\ny\nz\r\n"},
		"lines within TLS": {atGreeted, "XYZZY\r\n" + strings.Repeat("x", 12000) + "\r\nEXPN a\r\n"},
		"before EHLO":      {atNew, "VRFY x\r\nSTARTTLS\r\nXYZZY\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			mallocs(t, tc.at, []byte(tc.flood)) // fills the pools
			const times = 1000
			once, _ := mallocs(t, tc.at, []byte(tc.flood))
			many, size := mallocs(t, tc.at, bytes.Repeat([]byte(tc.flood), times))
			if many > once+times/10 || size > 128<<10 { // pools may be emptied meanwhile
				t.Errorf("%d allocations for one, %d for %d, %d octets", once, many, times, size)
			}
		})
	}
}

// A session that waits holds no buffers.
func TestIdleHoldsNoBuffers(t *testing.T) {
	x := start(t, newBackend(), atMail)
	x.conn.Close()
	<-x.done
	if x.conn.in.buf != nil || x.conn.out.buf != nil {
		t.Error("buffers were not given back")
	}
}

// RFC 2920 section 3.2: the replies of a turn leave in one write.
func TestOneWriteATurn(t *testing.T) {
	b := newBackend()
	nc := &memConn{in: []byte("EHLO c\r\n" + envelope + "RCPT TO:<bob>\r\nDATA\r\nx\r\n.\r\nNOOP\r\nQUIT\r\n")}
	if end := serveMem(b, atReady, nc); end.Reason != EndQuit {
		t.Fatalf("ended as %+v", end)
	}
	// The greeting, as nothing had been read; then everything up to 221.
	if nc.writes != 2 || strings.Count(nc.out.String(), "\r\n") != 18 {
		t.Errorf("%d writes:\n%s", nc.writes, &nc.out)
	}
}
