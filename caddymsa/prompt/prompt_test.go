package prompt

import (
	"errors"
	"strings"
	"testing"
)

func TestPasswordFromAPipe(t *testing.T) {
	for text, want := range map[string]string{"secret\n": "secret", "secret": "secret", "\ufeffsecret\r\n": "secret", " s e \r\nrest\n": " s e "} {
		if got, err := Password(strings.NewReader(text), "Password: "); got != want || err != nil {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "\n", "\r\n"} {
		if _, err := Line(strings.NewReader(text)); !errors.Is(err, ErrEmpty) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
