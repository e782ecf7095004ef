package spoolfile

import (
	"bytes"
	"strings"
	"sync"
)

// maxStamps is how many are told apart.
const maxStamps = 32

// stamps are those of the configurations that have routed the jobs there are, or were since the start.
type stamps struct {
	mu   sync.Mutex
	last string            // that was noted; most jobs have the same
	all  map[string]string // by what comes behind the time: the same content means the same routes
}

// note remembers that a job of a lane bears a stamp.
func (k *stamps) note(stamp string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.all != nil && stamp == k.last {
		return
	}
	k.last = stamp
	if k.all == nil {
		k.all = make(map[string]string)
	}
	_, content, _ := strings.Cut(stamp, "-")
	if _, known := k.all[content]; !known && len(k.all) >= maxStamps {
		content, stamp = "", ""
	}
	k.all[content] = stamp
}

// Stamps implements queue.Stamper.
func (s *Store) Stamps() []string {
	k := &s.stamps
	k.mu.Lock()
	defer k.mu.Unlock()
	all := make([]string, 0, len(k.all))
	for _, stamp := range k.all {
		all = append(all, stamp)
	}
	return all
}

// stampOf finds the stamp in a job's JSON, of which a scan decodes none. In a string of that the quotes would be escaped.
func stampOf(json []byte) string {
	_, rest, _ := bytes.Cut(json, []byte(`"stamp":"`))
	stamp, _, _ := bytes.Cut(rest, []byte(`"`))
	return string(stamp)
}
