package cmdspool

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
	"github.com/caddy-msa/caddy-msa/caddymsa/adminclient"
)

// Where nothing was moved, the same command would not go on.
func TestMoveNotBegun(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"a", "b"}, {"file:" + t.TempDir(), "file:" + t.TempDir()}} {
		cmd := moveCommand()
		cmd.SilenceErrors = true
		cmd.SetArgs(args)
		if err := cmd.Execute(); err == nil || strings.Contains(err.Error(), "goes on") {
			t.Errorf("%q: %v", args, err)
		}
	}
}

// What the server has to say at the end is handed on: that nobody delivers what was moved.
func TestMovedToNobody(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"messages":1}`+"\n"+`{"messages":2,"done":true,"note":"no server has the spool"}`+"\n")
	}))
	defer s.Close()
	a, f := new(adminclient.Admin), pflag.NewFlagSet("", pflag.ContinueOnError)
	a.Flags(f)
	if err := f.Parse([]string{"--address", s.Listener.Addr().String()}); err != nil {
		t.Fatal(err)
	}
	r := &report{out: new(bytes.Buffer), progress: io.Discard}
	if err := moveThere(a, &adminapi.SpoolMove{From: "file:/a", To: "file:/b"}, r); err != nil || r.moved != 2 || r.note != "no server has the spool" {
		t.Errorf("%+v, %v", r, err)
	}
}
