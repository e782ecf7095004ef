package app

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

func init() { caddy.RegisterModule(new(webApp)) }

// webApp stands for Caddy's HTTP app, and listens on nothing.
type webApp struct {
	Servers map[string]webServer `json:"servers"`
}

type webServer struct {
	Listen []string `json:"listen"`
}

func (*webApp) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http", New: func() caddy.Module { return new(webApp) }}
}

func (*webApp) Start() error { return nil }
func (*webApp) Stop() error  { return nil }

// A socket that a web site listens on is refused, at a load and at a reload; others are not.
func TestSocketOfOtherApp(t *testing.T) {
	in := newInstance(t)
	load := func(listen ...string) error {
		var config map[string]any
		if err := json.Unmarshal(in.config(), &config); err != nil {
			t.Fatal(err)
		}
		config["apps"].(map[string]any)["http"] = webApp{map[string]webServer{"srv0": {listen}}}
		b, err := json.Marshal(config)
		if err != nil {
			t.Fatal(err)
		}
		return caddy.Load(b, true)
	}
	ours := "unix/" + in.dir + "/starttls"
	for range 2 {
		err := load("udp/:443", "unix/"+in.dir+"/web", "unix/"+in.dir+"/../"+in.dir[strings.LastIndexByte(in.dir, '/')+1:]+"/starttls|0660")
		if err == nil || !strings.Contains(err.Error(), "server main: "+ours+" is the same socket as ") || !strings.Contains(err.Error(), " of server srv0 of the http app") {
			t.Error(err)
		}
		if err := load("udp/:443", "unix/"+in.dir+"/web"); err != nil {
			t.Error(err)
		}
	}
}

// All ports of a range count, and a port is not alike for a name and what it stands for.
func TestOwners(t *testing.T) {
	owners := make(map[string]string)
	addOwners(owners, "http", webApp{map[string]webServer{"srv0": {[]string{"localhost:586-588", "udp/127.0.0.1:590", "x:y:z"}}}})
	for listen, want := range map[string]string{"127.0.0.1:587": "tcp/localhost:587 of server srv0 of the http app", "127.0.0.1:590": "", ":587": ""} {
		if got := owners[endpointKey(address(t, listen))]; strings.TrimPrefix(got, "tcp/") != strings.TrimPrefix(want, "tcp/") {
			t.Errorf("%s: %q, want %q", listen, got, want)
		}
	}
}
