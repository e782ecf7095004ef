package app

import (
	"strings"
	"testing"
)

// A client that loses its line ends runs AUTH into another command, whose argument the log has: without credentials.
func TestCredentialsInArguments(t *testing.T) {
	in := newInstance(t)
	in.load()
	c := in.connectTLS()
	const secret = "AGFsaWNlAGh1bnRlcjI="
	c.do("RCPT TO:<a@b>AUTH PLAIN "+secret, "503")
	in.logged("RCPT refused", "TO:<a@b>AUTH ****")
	if strings.Contains(in.log(), secret) {
		t.Error("the log has the credentials")
	}
	for argument, want := range map[string]string{
		"FROM:<a@b> AUTH=<>": "FROM:<a@b> AUTH=<>", "TO:<auth@example.org>": "TO:<auth@example.org>", "auth": "auth", "": "",
		"x\nAUTH PLAIN\r\n" + secret: "x\nAUTH ****",
	} {
		if got := withoutCredentials(argument); got != want {
			t.Errorf("%q: %q", argument, got)
		}
	}
}
