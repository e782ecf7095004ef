package authldap

import (
	"testing"

	"go.uber.org/zap"
)

// A configuration that does not come into force takes no log with it.
func TestLogs(t *testing.T) {
	var l logs
	first, failed, second := zap.NewExample(), zap.NewExample(), zap.NewExample()
	l.add(first)
	l.add(failed)
	if l.remove(failed); l.Load() != first {
		t.Error("the log is not the first one's again")
	}
	l.add(second)
	if l.remove(first); l.Load() != second {
		t.Error("the log is not the second one's")
	}
	if l.remove(second); l.Load() != second {
		t.Error("there is no log left")
	}
}
