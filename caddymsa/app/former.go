package app

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// formerSpool is a spool that an earlier configuration accepted into. It stays open, and what is left
// in it is delivered by the routes of the configuration that is in charge now.
type formerSpool struct {
	d    *delivery
	once sync.Once
	stop chan struct{}
}

// drainEvery is how often it is looked whether a former spool is empty.
const drainEvery = time.Second

// tellEvery is how often the log says what is left of one.
const tellEvery = 10 * time.Minute

// drainFormer takes over the spools that are open and not this configuration's, and names those that
// an earlier process left behind.
func (app *App) drainFormer() {
	open := make(map[string]bool)
	var others []*store
	stores.Range(func(key, v any) bool {
		open[key.(string)] = true
		if s, ok := v.(*store); ok && s != app.delivery.store {
			others = append(others, s)
		}
		return true
	})
	for _, s := range others {
		if v, _, err := stores.LoadOrNew(s.key, func() (caddy.Destructor, error) { return nil, os.ErrNotExist }); err != nil || v != s {
			continue // it was closed meanwhile
		}
		f := &formerSpool{d: &delivery{app: app, store: s, interrupt: make(chan struct{})}, stop: make(chan struct{})}
		s.draining.Store(true)
		f.d.push()
		app.former = append(app.former, f)
		go f.watch()
	}
	app.placeSpools()
	rememberSpool(app.delivery.store.key)
	for _, key := range rememberedSpools() {
		if !open[key] {
			app.log.Error("a former configuration's spool was left behind, perhaps with messages in it: name it in the configuration for as long as it takes to empty it",
				zap.String("spool", key))
		}
	}
}

// watch ends when the spool is empty, or another configuration has taken over.
func (f *formerSpool) watch() {
	s, log := f.d.store, f.d.app.log
	var told time.Time
	for {
		messages, octets, err := s.spool.Size(context.Background())
		if err == nil && messages == 0 && s.drafts.Load() == 0 {
			log.Info("a former configuration's spool is empty and is closed", zap.String("spool", s.key))
			f.end(context.Background())
			return
		}
		if time.Since(told) > tellEvery {
			told = time.Now()
			log.Error("a former configuration's spool still has messages; it stays open until they are delivered",
				zap.String("spool", s.key), zap.Int("messages", messages), zap.Int64("octets", octets), zap.Error(err))
		}
		select {
		case <-f.stop:
			return
		case <-time.After(drainEvery):
		}
	}
}

// end gives the spool back, once.
func (f *formerSpool) end(ctx context.Context) {
	f.once.Do(func() {
		close(f.stop)
		f.d.release(ctx)
	})
}

// heldDraft keeps a store open until the message is received, or is not.
type heldDraft struct {
	queue.Draft
	s    *store
	once sync.Once
}

func (s *store) create(ctx context.Context) (queue.Draft, error) {
	d, err := s.spool.Create(ctx)
	if err != nil {
		return nil, err
	}
	s.drafts.Add(1)
	return &heldDraft{Draft: d, s: s}, nil
}

func (d *heldDraft) Commit(ctx context.Context, a *queue.Accept) error {
	err := d.Draft.Commit(ctx, a)
	if err == nil {
		d.ended()
	}
	return err
}

func (d *heldDraft) Abort() {
	d.Draft.Abort()
	d.ended()
}

func (d *heldDraft) ended() { d.once.Do(func() { d.s.drafts.Add(-1) }) }

// The spools that were opened and not emptied since are remembered where Caddy's storage is, or else
// in its data directory, a file each.
func spoolsDir() string {
	if dir := spoolsRoot.Load(); dir != nil {
		return *dir
	}
	return filepath.Join(caddy.AppDataDir(), "msa", "spools")
}

// spoolsRoot is the place in the storage of the configuration that started last.
var spoolsRoot atomic.Pointer[string]

func (app *App) placeSpools() {
	if files, ok := app.ctx.Storage().(*certmagic.FileStorage); ok {
		dir := filepath.Join(files.Path, "msa", "spools")
		spoolsRoot.Store(&dir)
	}
}

func spoolFile(key string) string {
	sum := sha256.Sum256([]byte(key))
	return filepath.Join(spoolsDir(), hex.EncodeToString(sum[:8]))
}

// rememberSpool and the others do what they can: nothing depends on it but a line in the log.
func rememberSpool(key string) {
	if b, err := os.ReadFile(spoolFile(key)); err == nil && strings.TrimSpace(string(b)) == key {
		return
	}
	if os.MkdirAll(spoolsDir(), 0o700) == nil {
		_ = os.WriteFile(spoolFile(key), []byte(key+"\n"), 0o600)
	}
}

func forgetSpool(key string) { _ = os.Remove(spoolFile(key)) }

func rememberedSpools() (keys []string) {
	files, _ := os.ReadDir(spoolsDir())
	for _, f := range files {
		b, err := os.ReadFile(filepath.Join(spoolsDir(), f.Name()))
		key := strings.TrimSpace(string(b))
		if err != nil || key == "" {
			continue
		}
		if dir, ok := strings.CutPrefix(key, "file:"); ok {
			if _, err := os.Stat(filepath.Join(dir, "store")); os.IsNotExist(err) {
				forgetSpool(key)
				continue
			}
		}
		keys = append(keys, key)
	}
	return keys
}
