package conf

import (
	"strings"
	"testing"
)

// issue 10.22: addresses as other programs write them are errors that say what to write here.
func TestAddressRemedies(t *testing.T) {
	t.Parallel()
	socket := func(s string) error { _, err := Socket(s); return err }
	listen := func(s string) error { _, err := Listen(s, 587); return err }
	url := func(s string) error { return NoURL(s) }
	for _, c := range []struct {
		read       func(string) error
		text, want string
	}{
		{socket, "/run/clamav/clamd.ctl", "write unix//run/clamav/clamd.ctl"},
		{socket, "unix:/run/x", "write unix//run/x"},
		{socket, "unix:///run/x", "write the address alone: unix//run/x"},
		{socket, "local:/run/x", "write unix//run/x"},
		{socket, "inet:11332@localhost", "write localhost:11332"},
		{socket, "inet6:11332@[::1]", "write [::1]:11332"},
		{socket, "inet:localhost:11332", "write localhost:11332"},
		{socket, "http://localhost:11332", "write the address alone: localhost:11332"},
		{socket, "localhost", "expected host:port"},
		{socket, "a:b:c", "expected host:port"},
		{socket, "a,b:24", "expected host:port"},
		{url, "smtp://joe:s3cret@smtp.example.net:587/", "as in smtp.example.net:587"},
		{listen, "587", "write :587"},
		{listen, "smtp://:587", "write the address alone: :587"},
		{listen, "/run/msa.sock", "write unix//run/msa.sock"},
		{listen, "", "is not an address to listen on"},
		{listen, "tcp/", "is not an address to listen on"},
		{listen, "unix/", "is not an address to listen on"},
		{socket, "127.0.0.1:24", ""}, {socket, "unix//run/x", ""}, {socket, "[::1]:24", ""},
		{listen, ":587", ""}, {listen, "127.0.0.1", ""}, {listen, "localhost:587-589", ""}, {listen, "unix//run/x", ""},
	} {
		err := c.read(c.text)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.text, err)
		}
		if err != nil && strings.Contains(err.Error(), "s3cret") {
			t.Errorf("the password is in the error: %v", err)
		}
	}
}
