package machine

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
)

const (
	// answerTime is for how long a time server is waited for, and mostServers how many are asked until one answers.
	answerTime  = 2 * time.Second
	mostServers = 3
	// offBy is a difference that people see in the times of messages, and farOff one by which certificates and tokens that are
	// new are not valid yet.
	offBy  = 2 * time.Second
	farOff = time.Minute
)

// timeConfigs are where time services have their servers.
var timeConfigs = []string{"/etc/systemd/timesyncd.conf", "/etc/systemd/timesyncd.conf.d/*.conf", "/run/systemd/timesyncd.conf.d/*.conf", "/etc/chrony/chrony.conf", "/etc/chrony.conf",
	"/etc/chrony/conf.d/*.conf", "/etc/chrony/sources.d/*.sources", "/etc/ntpsec/ntp.conf", "/etc/ntp.conf"}

// TimeServers are those that this machine is configured to go by. Others are not asked: they are nobody's here.
func TimeServers() (servers []string) {
	for _, pattern := range timeConfigs {
		files, _ := filepath.Glob(pattern)
		for _, file := range files {
			if text, err := os.ReadFile(file); err == nil {
				servers = append(servers, serversIn(string(text))...)
			}
		}
	}
	return servers
}

// serversIn reads lines of systemd-timesyncd (NTP=a b) and of chrony and ntpd (server a iburst).
func serversIn(text string) (servers []string) {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if name, value, ok := strings.Cut(line, "="); ok && slices.Contains([]string{"NTP", "FallbackNTP"}, strings.TrimSpace(name)) {
			servers = append(servers, strings.Fields(value)...)
			continue
		}
		if f := strings.Fields(line); len(f) > 1 && slices.Contains([]string{"server", "pool", "peer"}, f[0]) {
			servers = append(servers, f[1])
		}
	}
	return servers
}

// ClockAgainst compares the clock with the first of the time servers that answers. It says nothing where there are none.
func ClockAgainst(ctx context.Context, servers []string) []doctor.Finding {
	n := doctor.About("clock", "")
	var failures []error
	for _, server := range servers[:min(len(servers), mostServers)] {
		off, err := offset(ctx, server)
		if err != nil {
			failures = append(failures, fmt.Errorf("%s: %w", server, err))
			continue
		}
		differs(n, server, off)
		return n.Findings
	}
	if failures != nil {
		n.Skip("let UDP out to port 123, or name a server that answers to the time service", "how right it is was not found out: %v", errors.Join(failures...))
	}
	return n.Findings
}

func differs(n *doctor.Notes, server string, off time.Duration) {
	const remedy = "have the time service set it: timedatectl set-ntp true, chronyc makestep; then see why it was not kept right"
	way := "behind"
	if off < 0 {
		way, off = "ahead", -off
	}
	switch {
	case off > farOff:
		n.Wrong(remedy, "it is %s by %s, says %s: certificates, tokens and DKIM signatures are taken for expired, or not valid yet", way, off.Round(time.Second), server)
	case off > offBy:
		n.Warn(remedy, "it is %s by %s, says %s", way, off.Round(100*time.Millisecond), server)
	default:
		n.OK("it differs from %s by %s", server, off.Round(time.Millisecond))
	}
}

// offset asks a server by SNTP (RFC 4330) how far it is ahead of this clock.
func offset(ctx context.Context, server string) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	if _, _, err := net.SplitHostPort(server); err != nil {
		server = net.JoinHostPort(strings.Trim(server, "[]"), "123")
	}
	conn, err := new(net.Dialer).DialContext(ctx, "udp", server)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	if until, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(until)
	}
	question := make([]byte, packetSize)
	question[0] = 4<<3 | 3 // version 4, a client
	if _, err := rand.Read(question[transmit:]); err != nil {
		return 0, err
	}
	sent := time.Now()
	if _, err := conn.Write(question); err != nil {
		return 0, err
	}
	answer := make([]byte, 1<<10)
	size, err := conn.Read(answer)
	if err != nil {
		return 0, err
	}
	back := time.Now()
	received, answered, err := readAnswer(answer[:size], [8]byte(question[transmit:]))
	if err != nil {
		return 0, err
	}
	return (received.Sub(sent) + answered.Sub(back)) / 2, nil
}

// Octets of a packet.
const (
	packetSize = 48
	originate  = 24
	receive    = 32
	transmit   = 40
)

var errNoTime = errors.New("what it answers is not the time")

// readAnswer takes the times at which the server received the question and answered. The nonce is what was sent as the question's time.
func readAnswer(p []byte, nonce [8]byte) (received, answered time.Time, err error) {
	const server = 4
	if len(p) < packetSize || p[0]&7 != server || [8]byte(p[originate:]) != nonce {
		return received, answered, errNoTime
	}
	if stratum := p[1]; stratum == 0 || stratum > 15 || p[0]>>6 == 3 {
		return received, answered, errors.New("it does not know the time itself")
	}
	return ntpTime(p[receive:]), ntpTime(p[transmit:]), nil
}

// ntpTime is of seconds and their fractions since 1900; those with the first bit clear are of the next era, from 2036 on.
func ntpTime(p []byte) time.Time {
	const until1970 = 2208988800
	seconds, fraction := int64(binary.BigEndian.Uint32(p)), int64(binary.BigEndian.Uint32(p[4:]))
	if seconds < 1<<31 {
		seconds += 1 << 32
	}
	return time.Unix(seconds-until1970, fraction*1e9>>32)
}
