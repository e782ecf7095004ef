//go:build unix

package machine

import "golang.org/x/sys/unix"

// CurrentLimits are this process's.
func CurrentLimits() Limits {
	return Limits{Files: limit(unix.RLIMIT_NOFILE), FileSize: limit(unix.RLIMIT_FSIZE)}
}

func limit(which int) uint64 {
	var r unix.Rlimit
	if unix.Getrlimit(which, &r) != nil {
		return 0
	}
	const infinity = 1<<63 - 1                // or more, by system
	if now := uint64(r.Cur); now < infinity { //nolint:unconvert // signed on some systems
		return now
	}
	return 0
}
