package spoolfile

import (
	"testing"
	"unsafe"
)

// A message that waits with one job takes 160 octets, a job more 88: half a million messages wait in 153 MiB.
func TestSizes(t *testing.T) {
	if n := unsafe.Sizeof(entry{}); n > 160 {
		t.Errorf("an entry takes %d octets", n)
	}
	if n := unsafe.Sizeof(job{}); n > 88 {
		t.Errorf("a job takes %d octets", n)
	}
}
