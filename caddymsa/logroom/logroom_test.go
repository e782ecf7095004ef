package logroom

import (
	"fmt"
	"sync"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// Lines keep their own fields, whoever has the room next.
func TestRoom(t *testing.T) {
	core, seen := observer.New(zap.InfoLevel)
	log := zap.New(core)
	var all sync.WaitGroup
	for w := range 8 {
		all.Go(func() {
			for i := range 100 {
				room := Take()
				fields := room.Fields
				for n := range 1 + i%(2*most) {
					fields = append(fields, zap.String(fmt.Sprint(n), fmt.Sprint(w, i)))
				}
				room.Write(log.Check(zap.InfoLevel, fmt.Sprint(w, i)), fields)
			}
		})
	}
	all.Wait()
	if seen.Len() != 800 {
		t.Errorf("%d lines", seen.Len())
	}
	for _, e := range seen.All() {
		for name, value := range e.ContextMap() {
			if value != e.Message {
				t.Errorf("%s has %s: %v", e.Message, name, value)
			}
		}
	}
}
