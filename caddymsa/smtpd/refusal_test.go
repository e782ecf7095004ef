package smtpd

import "testing"

// What the session hears of a refused line holds no secret, wherever a client that lost its place
// has put it.
func TestToldArgument(t *testing.T) {
	for _, tt := range []struct{ verb, arg, want string }{
		{"EHLO", "my pc", "my pc"},
		{"MAIL", "FROM:<a@b> SIZE=x", "FROM:<a@b> SIZE=x"},
		{"AUTH", "PLAIN AGFsaWNlAGh1bnRlcjI=", "PLAIN"},
		{"AUTH", "AGFsaWNlAGh1bnRlcjI=", ""},
		{"AUTH", "hunter2", ""},
		{"BDAT", "7AUTH PLAIN AGFsaWNlAGh1bnRlcjI=", ""},
		{"BDAT", "7 LAST", "7"},
		{"DATA", "AGFsaWNlAGh1bnRlcjI=", ""},
	} {
		if got := toldArg(tt.verb, tt.arg); got != tt.want {
			t.Errorf("%s %s: %q, want %q", tt.verb, tt.arg, got, tt.want)
		}
	}
}
