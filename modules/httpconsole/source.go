package httpconsole

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-msa/caddy-msa/caddymsa/message"
)

// maxSource bounds what is shown of a message.
const maxSource = 256 << 10

// sourcePage is a message as it is.
type sourcePage struct {
	ID     string
	Fields []headerField // those that people look for, decoded
	Text   string
	Cut    bool
}

type headerField struct{ Name, Value string }

func loadSource(v *visit) (any, error) {
	if !v.Content {
		return nil, caddyhttp.Error(http.StatusForbidden, errors.New("this console shows envelopes only: its configuration has no content"))
	}
	p := &sourcePage{ID: v.Query.Get("id")}
	if p.ID == "" {
		return nil, caddyhttp.Error(http.StatusBadRequest, errors.New("name a message: ?id="))
	}
	a := &answer{header: make(http.Header), most: maxSource}
	err := v.askInto(a, http.MethodGet, "/msa/queue-content/"+url.PathEscape(p.ID), nil, nil)
	if p.Cut = errors.Is(err, errCut); err != nil && !p.Cut {
		return nil, err
	}
	p.Text = strings.ReplaceAll(a.body.String(), "\r\n", "\n")
	p.Fields = headerFields(p.Text)
	return p, nil
}

// headerFields are those of a message that people look for.
func headerFields(text string) (all []headerField) {
	head, _, _ := strings.Cut(text, "\n\n")
	head = strings.NewReplacer("\n ", " ", "\n\t", " ").Replace(head)
	for line := range strings.Lines(head) {
		name, value, _ := strings.Cut(line, ":")
		switch strings.ToLower(name) {
		case "from", "to", "cc", "subject", "date":
			all = append(all, headerField{name, message.DecodeWords(strings.TrimSpace(value))})
		}
	}
	return all[:min(len(all), 20)]
}
