package httpconsole

import (
	"bytes"
	"encoding/json"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
)

// configPage is the configuration in force.
type configPage struct {
	Servers []adminapi.Server
	Text    string
}

func loadConfig(v *visit) (any, error) {
	answer := new(adminapi.Servers)
	if err := v.get("/msa/servers", nil, answer); err != nil {
		return nil, err
	}
	var text bytes.Buffer
	if err := json.Indent(&text, answer.App, "", "  "); err != nil {
		return nil, err
	}
	return &configPage{answer.Servers, text.String()}, nil
}
