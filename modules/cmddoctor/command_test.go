package cmddoctor

import (
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
)

var update = flag.Bool("update", false, "write what commands print into testdata")

const evil = "\x1b]0;OWNED\x07"

// admin answers POST /msa/doctor, and remembers what was asked.
func admin(t *testing.T, findings ...doctor.Finding) (address string, asked *adminapi.DoctorRequest) {
	t.Helper()
	asked = new(adminapi.DoctorRequest)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/msa/health" {
			return
		}
		if err := json.NewDecoder(r.Body).Decode(asked); err != nil || r.URL.Path != "/msa/doctor" || r.Method != http.MethodPost {
			t.Errorf("%s %s: %v", r.Method, r.URL, err)
		}
		if asked.Server == "nobody" {
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, `{"error":"there is no server \"nobody\"; the configuration has msa.example.org"}`)
			return
		}
		_ = json.NewEncoder(w).Encode(adminapi.DoctorAnswer{Findings: findings})
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String(), asked
}

func execute(t *testing.T, args ...string) (string, error) {
	t.Helper()
	cmd := newCommand()
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SetIn(strings.NewReader("secret\n"))
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(t.Context())
	return out.String(), err
}

func findings() []doctor.Finding {
	return []doctor.Finding{
		{Check: "spool", Subject: "file:/spool", Level: doctor.OK, Text: "it takes messages"},
		{Check: "routes", Subject: "server msa.example.org: route relay", Level: doctor.Wrong, Text: "messages wait: connection refused" + evil, Remedy: "start the next hop"},
		{Check: "clock", Level: doctor.Warn, Text: "no time service keeps it right", Remedy: "run a time service"},
		{Check: "spf", Subject: "example.org", Level: doctor.Skipped, Text: "which addresses it is to allow is not known", Remedy: "name them with --egress"},
	}
}

// What is found is printed with what to do, in lines or as JSON, and nothing in it steers a terminal.
func TestReport(t *testing.T) {
	address, asked := admin(t, findings()...)
	for name, args := range map[string][]string{"all": nil, "quiet": {"--quiet"}, "json": {"--json"}, "json-quiet": {"--json", "--quiet"}} {
		out, err := execute(t, append(args, "--address", address, "--domain", "example.org,example.net", "--egress", "192.0.2.1", "--resolver", "127.0.0.1:53")...)
		if err == nil || err.Error() != "one thing is wrong" || !strings.HasPrefix(name, "json") && strings.Contains(out, evil[:1]) {
			t.Errorf("%s: %v\n%q", name, err, out)
		}
		golden(t, name, out)
	}
	if want := (adminapi.DoctorRequest{Domains: []string{"example.org", "example.net"}, Egress: []string{"192.0.2.1"}, Resolver: "127.0.0.1:53"}); !reflect.DeepEqual(*asked, want) {
		t.Errorf("asked %+v", asked)
	}
	address, _ = admin(t, findings()[2])
	if out, err := execute(t, "--address", address); err != nil || !strings.Contains(out, "0 wrong") {
		t.Errorf("a warning: %v\n%s", err, out)
	}
}

// What cannot be meant is refused before anything is done.
func TestRefused(t *testing.T) {
	address, _ := admin(t)
	for want, args := range map[string][]string{
		"there is no server": {"--server", "nobody"}, "--tls is starttls or implicit": {"--remote", "a", "--tls", "x"}, "go with --remote": {"--tls", "implicit"}, "give one of them": {"--remote", "a", "--server", "b"},
		"--timeout is a duration":   {"--timeout", "-1s"},
		"--submit goes with --user": {"--submit", "a@example.org"}, "without spaces": {"--user", "a", "--submit", "a@example.org>\r\nRSET"}, "is not an IP address": {"--egress", "here"}, "is not a host": {"--remote", "smtp://a"},
		"--ca": {"--remote", "a", "--ca", "/nowhere"}, "no certificate": {"--remote", "a", "--ca", os.DevNull},
	} {
		if out, err := execute(t, append(args, "--address", address)...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v\n%s", args, err, out)
		}
	}
}

// A Caddy that hangs is a finding, and does not have the doctor hang with it.
func TestHangs(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // which nobody accepts from
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	o := &options{patience: 50 * time.Millisecond}
	f := pflag.NewFlagSet("", pflag.ContinueOnError)
	o.admin.Flags(f)
	if err := f.Parse([]string{"--address", l.Addr().String()}); err != nil {
		t.Fatal(err)
	}
	found, err := o.examine(t.Context())
	if err != nil || len(found) == 0 || found[0].Level != doctor.Wrong || !strings.Contains(found[0].Text, "does not answer within 50ms") || !strings.Contains(found[0].Remedy, "hangs") {
		t.Errorf("%+v, %v", found, err)
	}
}

// Ports and TLS follow from what --remote says.
func TestRemote(t *testing.T) {
	for _, c := range []struct {
		remote             []string
		mode               string
		starttls, implicit []string
		hostname           string
	}{
		{[]string{"mail.example.net"}, "", []string{"mail.example.net:587"}, []string{"mail.example.net:465"}, "mail.example.net"},
		{[]string{"mail.example.net:25"}, "", []string{"mail.example.net:25"}, nil, "mail.example.net"},
		{[]string{"mail.example.net:465"}, "", nil, []string{"mail.example.net:465"}, "mail.example.net"},
		{[]string{"mail.example.net"}, "implicit", nil, []string{"mail.example.net:465"}, "mail.example.net"},
		{[]string{"[2001:db8::1]"}, "starttls", []string{"[2001:db8::1]:587"}, nil, "2001:db8::1"},
		{[]string{"[2001:db8::1]:2525", "192.0.2.1:4650"}, "implicit", nil, []string{"[2001:db8::1]:2525", "192.0.2.1:4650"}, "2001:db8::1"},
	} {
		o := &options{remote: c.remote, mode: c.mode}
		target, err := o.remoteTarget()
		if err != nil || !reflect.DeepEqual(target.StartTLS, c.starttls) || !reflect.DeepEqual(target.Implicit, c.implicit) || target.Hostname != c.hostname {
			t.Errorf("%+v: %+v, %v", c, target, err)
		}
	}
}

// The password is asked for, and is nowhere else.
func TestPassword(t *testing.T) {
	o := &options{user: "alice@example.org", submit: "discard@example.org"}
	t.Setenv("MSA_PASSWORD", "")
	if err := o.complete(strings.NewReader("secret\n")); err != nil || o.password != "secret" || o.from != o.user {
		t.Errorf("%+v, %v", o, err)
	}
	target, err := o.target()
	if err != nil || target.Login.Password != "secret" || target.Submit.To != "discard@example.org" {
		t.Errorf("%+v, %v", target, err)
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".txt")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || string(want) != got {
		t.Errorf("%s: %v, have\n%s", name, err, got)
	}
}
