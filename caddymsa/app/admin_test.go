package app

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// The operator looks at what waits, and steers it.
func TestAdminQueue(t *testing.T) {
	in := newInstance(t)
	in.mail.sink = failing(errors.New("connection refused"))
	in.load()
	c := in.session()
	first, second := c.submit("bob@example.net"), c.submit("carol@example.net", "dave@example.net")
	in.logged("connection refused", second)

	page := func(query string) []string {
		t.Helper()
		status, body := in.admin(http.MethodGet, "/msa/queue"+query, "")
		if status != http.StatusOK {
			t.Fatalf("%s: %d %s", query, status, body)
		}
		var ids []string
		for _, e := range jsonOf[struct {
			Entries []struct {
				ID string `json:"id"`
			} `json:"entries"`
		}](t, body).Entries {
			ids = append(ids, e.ID)
		}
		return ids
	}
	in.await("two failures on record", func() bool { return len(page("?error=refused")) == 2 })
	for query, want := range map[string]int{"": 2, "?limit=1": 1, "?recipient=CAROL": 1, "?user=alice@example.org": 2, "?sender=nobody": 0, "?state=held": 0, "?server=main": 2, "?error=refused": 2, "?older=1h": 0, "?newer=1h": 2, "?after=" + min(first, second): 1} { // ids of one millisecond have no order
		if ids := page(query); len(ids) != want {
			t.Errorf("%s: %v, want %d", query, ids, want)
		}
	}
	for _, wrong := range []string{"?limit=0", "?state=lost", "?older=soon", "?colour=red"} {
		if status, body := in.admin(http.MethodGet, "/msa/queue"+wrong, ""); status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", wrong, status, body)
		}
	}
	if status, body := in.admin(http.MethodGet, "/msa/queue/"+first, ""); status != http.StatusOK || !strings.Contains(body, "bob@example.net") || !strings.Contains(body, "connection refused") {
		t.Errorf("%d %s", status, body)
	}
	for _, path := range []string{"/msa/queue/", "/msa/queue//", "/msa/queue/%20", "/msa/users/", "/msa/users/%20"} { // a list is no message and no user
		if status, body := in.admin(http.MethodGet, path, ""); status != http.StatusBadRequest || !strings.Contains(body, "is required") {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	if status, _ := in.admin(http.MethodGet, "/msa/queue/NONE", ""); status != http.StatusNotFound {
		t.Errorf("status %d", status)
	}
	act := func(action string, request adminapi.QueueAction) adminapi.QueueActionAnswer {
		t.Helper()
		b, _ := json.Marshal(request)
		status, body := in.admin(http.MethodPost, "/msa/queue-actions/"+action, string(b))
		if status != http.StatusOK {
			t.Fatalf("%s: %d %s", action, status, body)
		}
		return jsonOf[adminapi.QueueActionAnswer](t, body)
	}
	if a := act("hold", adminapi.QueueAction{IDs: []string{first, "NONE"}, Reason: "looking at it"}); len(a.Done) != 1 || a.Failed["NONE"] == "" {
		t.Errorf("%+v", a)
	}
	if ids := page("?state=held"); len(ids) != 1 || ids[0] != first {
		t.Errorf("held: %v", ids)
	}
	in.mail.change(func() { in.mail.sink = nil })
	if a := act("release", adminapi.QueueAction{IDs: []string{first}}); len(a.Done) != 1 {
		t.Errorf("%+v", a)
	}
	in.arrived(1)
	act("retry", adminapi.QueueAction{IDs: []string{second}})
	in.arrived(3)
	in.await("an empty queue", func() bool { return len(page("")) == 0 })

	in.mail.change(func() { in.mail.sink = failing(errors.New("connection refused")) })
	third, fourth := c.submit("erin@example.net"), c.submit("frank@example.net")
	in.logged("connection refused", fourth)
	act("delete", adminapi.QueueAction{IDs: []string{third}})
	in.mail.change(func() {
		in.mail.sink = func(_ context.Context, d *queue.Delivery, _ *queue.Recipient) error {
			if d.Entry.Bounce {
				return nil
			}
			return errors.New("connection refused")
		}
	})
	act("bounce", adminapi.QueueAction{IDs: []string{fourth}, Reason: "That address has moved"})
	in.await("the notification", func() bool {
		all := in.mail.copies()
		return len(all) == 4 && strings.Contains(all[3].message, "That address has moved")
	})
}

// Content is shown only where the operator has switched that on.
func TestAdminContentIsOff(t *testing.T) {
	in := newInstance(t)
	in.mail.sink = failing(errors.New("connection refused"))
	in.load()
	id := in.session().submit("bob@example.net")
	if status, body := in.admin(http.MethodGet, "/msa/queue-content/"+id, ""); status != http.StatusForbidden || strings.Contains(body, "How are you") {
		t.Errorf("%d %s", status, body)
	}
}

// Which backend accepts a user, without a session; backends read their data again.
func TestAdminAuth(t *testing.T) {
	in := newInstance(t)
	in.load()
	test := func(request adminapi.AuthTestRequest) adminapi.AuthTestAnswer {
		t.Helper()
		b, _ := json.Marshal(request)
		status, body := in.admin(http.MethodPost, "/msa/auth/test", string(b))
		if status != http.StatusOK {
			t.Fatalf("%d %s", status, body)
		}
		all := jsonOf[[]adminapi.AuthTestAnswer](t, body)
		if len(all) != 1 {
			t.Fatalf("%+v", all)
		}
		return all[0]
	}
	if a := test(adminapi.AuthTestRequest{User: "alice@example.org", Password: "secret"}); a.Result != "accepted" || len(a.Mechanisms) < 4 || a.Attributes["department"] != "sales" {
		t.Errorf("%+v", a)
	}
	if a := test(adminapi.AuthTestRequest{User: "alice@example.org"}); a.Result != "known" {
		t.Errorf("%+v", a)
	}
	if a := test(adminapi.AuthTestRequest{User: "alice@example.org", Token: "token"}); a.Result != "accepted" {
		t.Errorf("%+v", a)
	}
	in.mail.change(func() { in.mail.backend = errors.New("down") })
	if a := test(adminapi.AuthTestRequest{User: "alice@example.org", Password: "secret"}); a.Result != "cannot_tell" || a.Error != "down" {
		t.Errorf("%+v", a)
	}
	if status, body := in.admin(http.MethodPost, "/msa/reload/auth", ""); status != http.StatusUnprocessableEntity || !strings.Contains(body, "down") {
		t.Errorf("%d %s", status, body)
	}
	in.mail.change(func() { in.mail.backend = nil })
	if status, body := in.admin(http.MethodPost, "/msa/reload/auth", ""); status != http.StatusOK || !strings.Contains(body, "fake") {
		t.Errorf("%d %s", status, body)
	}
	for path, want := range map[string]int{"/msa/auth/test": http.StatusMethodNotAllowed, "/msa/reload/auth": http.StatusMethodNotAllowed} {
		if status, _ := in.admin(http.MethodGet, path, ""); status != want {
			t.Errorf("GET %s: %d", path, status)
		}
	}
	if status, _ := in.admin(http.MethodPost, "/msa/auth/test", `{"user": "x", "colour": "red"}`); status != http.StatusBadRequest {
		t.Errorf("unknown field: %d", status)
	}
}
