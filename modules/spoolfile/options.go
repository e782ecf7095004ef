package spoolfile

import (
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"
)

// Options are a store's; the zero value is what a server uses.
type Options struct {
	// FS is the file system. Default: the operating system's, with files 0600 in
	// directories 0700.
	FS vfs.FS
	// Threshold is the size in octets up to which a body lies in the store; a
	// larger one gets a file. It bounds a draft's memory. Default 128 KiB.
	Threshold int
	// Reserve is how many octets must be free for a message to be taken.
	// Default 64 MiB; negative for none.
	Reserve int64
	// MaxMessages and MaxOctets bound what the spool takes, notifications of ours excepted; 0 for as much
	// as the disk holds.
	MaxMessages, MaxOctets int64
	// Ballast is the size in octets of a file that is given up when the disk is
	// full all the same. Default 8 MiB; negative for none.
	Ballast int64
	// Retry is the wait before storage that failed is opened again, doubled with
	// each failure up to ten minutes. Default 5 s.
	Retry time.Duration
	// Log is where trouble goes. Default nowhere.
	Log *zap.Logger

	memTable     uint64        // smaller in tests, so that there are flushes to interrupt
	journalPause time.Duration // between two looks at the journal's limits
	ample        time.Duration // how long nobody looks for free space where there was plenty; 0: every message does
}

const (
	defaultThreshold = 128 << 10
	defaultReserve   = 64 << 20
	defaultBallast   = 8 << 20
	defaultRetry     = 5 * time.Second
	maxRetry         = 10 * time.Minute
)

func (o *Options) setDefaults() {
	if o.FS == nil {
		o.FS, o.ample = privateFS{vfs.Default}, ampleTime
	}
	if o.Threshold == 0 {
		o.Threshold = defaultThreshold
	}
	if o.Reserve == 0 {
		o.Reserve = defaultReserve
	}
	if o.Ballast == 0 {
		o.Ballast = defaultBallast
	}
	if o.Retry == 0 {
		o.Retry = defaultRetry
	}
	if o.memTable == 0 {
		o.memTable = memTable
	}
	if o.journalPause == 0 {
		o.journalPause = keepPause
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
}
