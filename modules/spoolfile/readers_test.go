package spoolfile

import (
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// BenchmarkGet is what one read from the store costs.
func BenchmarkGet(b *testing.B) {
	s, err := Open(b.TempDir(), Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	fill(b, s, 1000, 10)
	eng, err := s.engine()
	if err != nil {
		b.Fatal(err)
	}
	var keys [][]byte
	if err := s.List(background, "", func(m *queue.EntryView) bool {
		keys = append(keys, bodyKey(m.Entry.ID))
		return true
	}); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, err := eng.get(keys[i%len(keys)]); err != nil {
			b.Fatal(err)
		}
	}
}
