package notifywebhook

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/notify"
	"github.com/caddy-msa/caddy-msa/caddymsa/webcall"
)

// poster posts events to one service.
type poster struct {
	client  *webcall.Client
	keys    []webcall.WebhookKey
	timeout time.Duration
}

// refusals are the statuses that are about the event.
var refusals = []int{
	http.StatusBadRequest, http.StatusNotAcceptable, http.StatusLengthRequired, http.StatusRequestEntityTooLarge, http.StatusRequestURITooLong,
	http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity, http.StatusRequestHeaderFieldsTooLarge,
}

// maxAnswer is how much of an answer is read, for the log, and so that the connection can be used again.
const maxAnswer = 4 << 10

func (p *poster) post(ctx context.Context, e *notify.Event) error {
	text, err := json.Marshal(e)
	if err != nil {
		return err
	}
	limited, cancel := context.WithTimeoutCause(ctx, p.timeout, fmt.Errorf("no answer within %v", p.timeout))
	defer cancel()
	body := webcall.JSON(text)
	body.Whole = true
	resp, err := p.client.Post(limited, webcall.WebhookHeader(e.ID, time.Now(), text, p.keys...), body)
	if err != nil {
		if webcall.IsUnreachable(err) {
			return &notify.UnreachableError{Cause: err}
		}
		return err
	}
	defer resp.Body.Close()
	said, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	return p.outcome(resp, string(said))
}

// outcome is what an answer means.
func (p *poster) outcome(resp *http.Response, said string) error {
	code := resp.StatusCode
	if code >= 200 && code < 300 {
		return nil
	}
	line, _, _ := strings.Cut(strings.TrimSpace(said), "\n")
	err := fmt.Errorf("%s: status %s", p.client.Name(), strings.TrimSpace(strconv.Itoa(code)+" "+http.StatusText(code)+" "+caddymsa.ReplyLine(line)))
	if slices.Contains(refusals, code) {
		return &notify.RefusedError{Cause: err}
	}
	after, asked := webcall.RetryAfter(resp.Header, time.Now())
	if asked || code == http.StatusTooManyRequests {
		return &notify.LaterError{Cause: err, After: after}
	}
	return err
}
