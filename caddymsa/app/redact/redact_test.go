package redact

import (
	"encoding/json"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
)

func init() { caddy.RegisterModule(new(thing)) }

type thing struct {
	Key   conf.Secret `json:"key,omitempty"`
	Inner struct {
		Keys []conf.Secret `json:"keys,omitempty"`
	} `json:"inner,omitzero"`
	More json.RawMessage `json:"more,omitempty" caddy:"namespace=test.things inline_key=kind"`
	embedded
}

type embedded struct {
	Deep conf.Secret `json:"deep,omitempty"`
}

func (*thing) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "test.things.thing", New: func() caddy.Module { return new(thing) }}
}

type config struct {
	Things []json.RawMessage          `json:"things,omitempty" caddy:"namespace=test.things inline_key=kind"`
	Named  map[string]json.RawMessage `json:"named,omitempty" caddy:"namespace=test.things"`
	By     map[string]*thing          `json:"by,omitempty"`
	Users  []struct {
		Name     string `json:"name"`
		Password string `json:"password"`
	} `json:"users,omitempty"`
	URL     string              `json:"url,omitempty"`
	Header  map[string][]string `json:"header,omitempty"`
	Command []string            `json:"command,omitempty"`
	N       int64               `json:"n,omitempty"`
	Wait    conf.Duration       `json:"wait,omitempty"`
}

// Whatever is made for a secret, is called one, or looks like one, is not shown; where it comes from is, and all else.
func TestConfig(t *testing.T) {
	for have, want := range map[string]string{
		`{"things":[{"kind":"thing","key":"hunter2","inner":{"keys":["a","{env.KEY}",""]},"more":{"kind":"thing","key":"x"}}]}`: `{"things":[{"inner":{"keys":["REDACTED","{env.KEY}",""]},"key":"REDACTED","kind":"thing","more":{"key":"REDACTED","kind":"thing"}}]}`,
		`{"things":[{"kind":"thing","deep":"x{env.KEY}"}],"n":12345678901234567,"wait":5000000000}`:                             `{"n":12345678901234567,"things":[{"deep":"REDACTED","kind":"thing"}],"wait":"5s"}`,
		`{"named":{"thing":{"key":"x"},"other":{"key":"shown","password":"x"}},"by":{"a":{"key":"x"}}}`:                         `{"by":{"a":{"key":"REDACTED"}},"named":{"other":{"key":"shown","password":"REDACTED"},"thing":{"key":"REDACTED"}}}`,
		`{"users":[{"name":"alice","password":"{ARGON2ID}$argon2id$..."}]}`:                                                     `{"users":[{"name":"alice","password":"REDACTED"}]}`,
		`{"url":"postgres://msa:s3c@r:et@db.example.org/msa?password=x&sslmode=verify-full"}`:                                   `{"url":"postgres://msa:REDACTED@db.example.org/msa?password=REDACTED\u0026sslmode=verify-full"}`,
		`{"url":"postgres://msa@db.example.org/msa"}`:                                                                           `{"url":"postgres://msa@db.example.org/msa"}`,
		`{"header":{"Authorization":["Bearer abc"],"X-Api-Key":["abc"],"X-Site":["msa"]}}`:                                      `{"header":{"Authorization":["REDACTED"],"X-Api-Key":["REDACTED"],"X-Site":["msa"]}}`,
		`{"command":["scan","--token=abc","--api-key: 'a b'","Basic YTpi","PASSWORD={env.P}"]}`:                                 `{"command":["scan","--token=REDACTED","--api-key: REDACTED","Basic REDACTED","PASSWORD={env.P}"]}`,
		`{"things":[{"kind":"unknown","secret_name":{"deep":"x"},"list":[{"client_secret":"y"}]}],"users":"not a list"}`:        `{"things":[{"kind":"unknown","list":[{"client_secret":"REDACTED"}],"secret_name":{"deep":"REDACTED"}}],"users":"not a list"}`,
	} {
		got, err := Config[config](json.RawMessage(have))
		if err != nil {
			t.Fatal(err)
		}
		if text, _ := json.Marshal(got); string(text) != want {
			t.Errorf("%s\nbecame %s\nnot    %s", have, text, want)
		}
	}
}
