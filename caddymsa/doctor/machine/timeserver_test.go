package machine

import (
	"encoding/binary"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
)

// timeServer says what the clock is with so much added; change may spoil its answer.
func timeServer(t *testing.T, ahead time.Duration, change func(answer []byte) []byte) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	go func() {
		question := make([]byte, 1<<10)
		for {
			n, from, err := conn.ReadFrom(question)
			if err != nil {
				return
			}
			answer := make([]byte, packetSize)
			answer[0], answer[1] = 4<<3|4, 2
			if n >= packetSize {
				copy(answer[originate:], question[transmit:packetSize])
			}
			for _, at := range []int{receive, transmit} {
				now := time.Now().Add(ahead)
				binary.BigEndian.PutUint32(answer[at:], uint32(now.Unix()+2208988800))
				binary.BigEndian.PutUint32(answer[at+4:], uint32(int64(now.Nanosecond())<<32/1e9))
			}
			if change != nil {
				answer = change(answer)
			}
			_, _ = conn.WriteTo(answer, from)
		}
	}()
	return conn.LocalAddr().String()
}

// The clock is compared with the servers that the machine goes by: how wrong it is says more than that something keeps it.
func TestClockAgainst(t *testing.T) {
	closed, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	right := timeServer(t, 0, nil)
	for name, tt := range map[string]struct {
		servers []string
		level   doctor.Level
		text    string
	}{
		"right":       {[]string{right}, doctor.OK, "it differs from " + right},
		"second one":  {[]string{closed.LocalAddr().String(), right}, doctor.OK, "it differs from " + right},
		"behind":      {[]string{timeServer(t, time.Hour, nil)}, doctor.Wrong, "it is behind by 1h0m"},
		"ahead":       {[]string{timeServer(t, -time.Hour, nil)}, doctor.Wrong, "it is ahead by "},
		"a little":    {[]string{timeServer(t, 40*time.Second, nil)}, doctor.Warn, "it is behind by "},
		"nobody":      {[]string{closed.LocalAddr().String()}, doctor.Skipped, "connection refused"},
		"not known":   {[]string{timeServer(t, 0, func(a []byte) []byte { a[1] = 0; return a })}, doctor.Skipped, "does not know the time itself"},
		"not a time":  {[]string{timeServer(t, 0, func(a []byte) []byte { return a[:40] })}, doctor.Skipped, "is not the time"},
		"not for us":  {[]string{timeServer(t, 0, func(a []byte) []byte { a[originate]++; return a })}, doctor.Skipped, "is not the time"},
		"not a clock": {[]string{timeServer(t, 0, func(a []byte) []byte { a[0] = 4<<3 | 3; return a })}, doctor.Skipped, "is not the time"},
	} {
		t.Run(name, func(t *testing.T) { expect(t, ClockAgainst(t.Context(), tt.servers), tt.level, tt.text) })
	}
	if found := ClockAgainst(t.Context(), nil); found != nil {
		t.Errorf("without servers: %+v", found)
	}
}

func TestServersIn(t *testing.T) {
	got := serversIn("[Time]\n#NTP=no.example\nNTP=a.example b.example\n FallbackNTP = c.example\nserver d.example iburst\n! server no.example\npool 2.debian.pool.ntp.org iburst maxsources 4\nserver\nRootDistanceMaxSec=5\n")
	if want := []string{"a.example", "b.example", "c.example", "d.example", "2.debian.pool.ntp.org"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	TimeServers()
}

func FuzzReadAnswer(f *testing.F) {
	f.Add(make([]byte, packetSize))
	f.Add([]byte{4<<3 | 4, 1})
	f.Fuzz(func(t *testing.T, p []byte) {
		received, answered, err := readAnswer(p, [8]byte{})
		if err == nil && (received.Year() < 1968 || answered.Year() > 2105) {
			t.Error(received, answered)
		}
	})
}
