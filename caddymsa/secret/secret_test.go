package secret

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

func TestSecret(t *testing.T) {
	v := struct{ Key Secret }{"hunter2"}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		if text := fmt.Sprintf(verb, v); strings.Contains(text, "hunter2") || strings.Contains(text, "68756e") {
			t.Errorf("%s shows %s", verb, text)
		}
	}
	if b, _ := json.Marshal(v); string(b) != `{"Key":"hunter2"}` {
		t.Errorf("%s", b)
	}
}

func TestResolve(t *testing.T) {
	t.Setenv("SECRET_TEST", "s3cret")
	core, logs := observer.New(zap.WarnLevel)
	for s, want := range map[Secret]int{"{env.SECRET_TEST}": 0, "s3cret": 1, "": 0} {
		f, err := s.Resolve("key", zap.New(core))
		if err != nil || s != "" && f() != "s3cret" {
			t.Error(err)
		}
		if n := len(logs.TakeAll()); n != want {
			t.Errorf("%d warnings", n)
		}
	}
	if _, err := Secret("{no.such.thing}").Resolve("key", zap.NewNop()); err == nil || !strings.Contains(err.Error(), "key") {
		t.Error(err)
	}
}
