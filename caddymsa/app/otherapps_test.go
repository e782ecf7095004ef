package app

import (
	"cmp"
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
		if err == nil || !strings.Contains(err.Error(), "server main: "+ours+" is taken by ") || !strings.Contains(err.Error(), " of server srv0 of the http app") {
			t.Error(err)
		}
		if err := load("udp/:443", "unix/"+in.dir+"/web"); err != nil {
			t.Error(err)
		}
	}
}

// Who has a port at one address has it at all, and all ports of a range count.
func TestPortOwners(t *testing.T) {
	owners := make(portOwners)
	owners.add("http", webApp{map[string]webServer{"srv0": {[]string{"localhost:586-588", "udp/127.0.0.1:590", "x:y:z", ":443", "tcp6/:444"}}}})
	for listen, want := range map[string]string{
		"127.0.0.1:587": "localhost:587 of server srv0 of the http app", ":587": "localhost:587", "127.0.0.2:587": "", "127.0.0.1:589": "", "127.0.0.1:590": "",
		"127.0.0.1:443": ":443 of server", "[::1]:443": ":443 of server", ":443": ":443 of server", "127.0.0.1:444": "", "[::1]:444": ":444 of server", "unix//run/msa.sock": "",
	} {
		got := ""
		for _, key := range socketKeys(address(t, listen)) {
			got = cmp.Or(got, owners.of(key))
		}
		if (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", listen, got, want)
		}
	}
}
