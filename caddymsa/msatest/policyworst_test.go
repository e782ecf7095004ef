package msatest

import (
	"compress/gzip"
	"io"
	"strings"
	"testing"
)

// What is made by hand is what it says.
func TestWorstArchives(t *testing.T) {
	z, err := gzip.NewReader(strings.NewReader(string(inflating(5 << 20))))
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, z); err != nil || n != 512+5<<20 {
		t.Errorf("%d octets, %v", n, err)
	}
	for name, octets := range WorstMessages() {
		if len(octets) > WorstMessage || len(octets) < WorstMessage/20 {
			t.Errorf("%s: %d octets", name, len(octets))
		}
	}
}
