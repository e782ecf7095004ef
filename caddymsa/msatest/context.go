package msatest

import (
	"encoding/json"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"

	_ "github.com/caddyserver/caddy/v2/modules/filestorage" // where the context's storage lies
)

// provisioning keeps tests that run side by side apart: Caddy makes the storage of each configuration certmagic's default, which is one variable.
var provisioning sync.Mutex

// Context is a Caddy context to provision a module with. Its storage is a directory of the test's own.
func Context(t testing.TB) caddy.Context {
	t.Helper()
	storage, err := json.Marshal(map[string]string{"module": "file_system", "root": t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	off := false
	provisioning.Lock()
	defer provisioning.Unlock()
	ctx, err := caddy.ProvisionContext(&caddy.Config{
		StorageRaw: storage,
		Admin:      &caddy.AdminConfig{Disabled: true, Config: &caddy.ConfigSettings{Persist: &off}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return ctx
}
