package app

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/emersion/go-smtp"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue/queuetest"
	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
)

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func init() {
	for _, module := range []caddy.Module{new(fakeBackend), new(fakeBouncer), new(fakeIdentity), new(fakeDomain), new(fakeContent), new(fakeSink), new(fakeMap), new(memorySpool), new(fakeWrapper), new(fakeHandler)} {
		caddy.RegisterModule(module)
	}
}

// world is what is outside of a configuration and outlives it: users, mailboxes, a disk.
type world struct {
	id    string
	spool *queuetest.MemSpool // the usual one

	mu        sync.Mutex
	disks     map[string]*queuetest.MemSpool // "" is the usual one
	users     map[string]string              // name to password
	backend   error                          // instead of an answer
	revision  uint64
	delivered []delivered
	sink      func(ctx context.Context, d *queue.Delivery, r *queue.Recipient) error // nil: takes all
	policy    func(moment string, s *caddymsa.Submission, m *caddymsa.Message) error
	events    []string
	told      []caddy.Event // the same
	handler   func()        // of events
	ended     []bool        // what policies heard of ends
	wrapped   int           // connections
	measures  measures      // of the spool
	notify    error         // of the notifier
}

// delivered is a copy that reached the sink.
type delivered struct {
	sink, sender, recipient, message string
}

var worlds sync.Map // by id

func newWorld(id string) *world {
	usual := queuetest.NewMemSpool()
	w := &world{id: id, spool: usual, disks: map[string]*queuetest.MemSpool{"": usual}, users: map[string]string{"alice@example.org": "secret"}}
	worlds.Store(id, w)
	return w
}

// disk is the spool of a name, which is there again when it is opened again.
func (w *world) disk(name string) *queuetest.MemSpool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.disks[name] == nil {
		w.disks[name] = queuetest.NewMemSpool()
	}
	return w.disks[name]
}

func (w *world) forget() { worlds.Delete(w.id) }

// change does something with what modules look at.
func (w *world) change(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

func (w *world) copies() []delivered {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]delivered(nil), w.delivered...)
}

// outside gives a module its world.
type outside struct {
	World string `json:"world,omitempty"`
}

func (o *outside) world() *world {
	w, ok := worlds.Load(o.World)
	if !ok {
		return newWorld(o.World)
	}
	return w.(*world)
}

// fakeBackend serves every mechanism.
type fakeBackend struct {
	outside
	Only []string `json:"only,omitempty"` // capabilities
}

func (*fakeBackend) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "msa.auth.fake", New: func() caddy.Module { return new(fakeBackend) }}
}

func (b *fakeBackend) Serves(c caddymsa.Capability) bool {
	if len(b.Only) == 0 {
		return c != caddymsa.CapCertificate && c != caddymsa.CapProxy
	}
	for _, only := range b.Only {
		if only == string(c) {
			return true
		}
	}
	return false
}

func (b *fakeBackend) identity(user string) caddymsa.Identity {
	return caddymsa.Identity{User: user, Attributes: map[string]string{"department": "sales"}, Fingerprint: b.world().users[user]}
}

func (b *fakeBackend) VerifyPassword(ctx context.Context, _ caddymsa.Peer, user, password string) (caddymsa.Identity, error) {
	w := b.world()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.backend != nil {
		return caddymsa.Identity{}, w.backend
	}
	if want, ok := w.users[user]; !ok || want != password {
		return caddymsa.Identity{}, caddymsa.ErrCredentials
	}
	return b.identity(user), ctx.Err()
}

// Survey implements caddymsa.Surveyor: every user has a clear password.
func (b *fakeBackend) Survey(caddymsa.Capability, []string) (users, without int) { return 1, 0 }

func (b *fakeBackend) DigestCredentials(_ context.Context, _ caddymsa.Peer, user, _ string) ([]caddymsa.DigestCredential, error) {
	w := b.world()
	w.mu.Lock()
	defer w.mu.Unlock()
	if password, ok := w.users[user]; ok {
		return []caddymsa.DigestCredential{{Password: password, Identity: b.identity(user)}}, w.backend
	}
	return nil, w.backend
}

func (b *fakeBackend) SCRAMCredential(_ context.Context, _ caddymsa.Peer, user string) (sasl.SCRAMCredential, caddymsa.Identity, error) {
	w := b.world()
	w.mu.Lock()
	defer w.mu.Unlock()
	password, ok := w.users[user]
	if !ok {
		password = "decoy"
	}
	c, err := sasl.NewSCRAMCredential(password, []byte("0123456789abcdef"), 4096)
	if err == nil && !ok {
		err = caddymsa.ErrCredentials
	}
	if w.backend != nil {
		err = w.backend
	}
	return c, b.identity(user), err
}

func (b *fakeBackend) VerifyToken(_ context.Context, _ caddymsa.Peer, user, token string) (caddymsa.Identity, error) {
	w := b.world()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.backend != nil {
		return caddymsa.Identity{}, w.backend
	}
	if token != "token" {
		return caddymsa.Identity{}, &sasl.TokenRefusal{}
	}
	return b.identity(user), nil
}

func (b *fakeBackend) MapCertificate(_ context.Context, _ caddymsa.Peer, state *tls.ConnectionState) (caddymsa.Identity, error) {
	return b.identity("alice@example.org"), nil
}

func (b *fakeBackend) Lookup(_ context.Context, _ caddymsa.Peer, user string) (caddymsa.Identity, error) {
	w := b.world()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.backend != nil {
		return caddymsa.Identity{}, w.backend
	}
	if _, ok := w.users[user]; !ok {
		return caddymsa.Identity{}, caddymsa.ErrCredentials
	}
	return b.identity(user), nil
}

func (b *fakeBackend) Revision() uint64 {
	w := b.world()
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.revision
}

func (b *fakeBackend) Reload(context.Context) error {
	w := b.world()
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.backend
}

// fakeBouncer is a policy that does what its world says, at each moment.
type fakeBouncer struct{ outside }

func (*fakeBouncer) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "msa.policies.fake", New: func() caddy.Module { return new(fakeBouncer) }}
}

func (p *fakeBouncer) at(moment string, s *caddymsa.Submission, m *caddymsa.Message) error {
	w := p.world()
	w.mu.Lock()
	f := w.policy
	w.mu.Unlock()
	if f == nil {
		return nil
	}
	return f(moment, s, m)
}

func (p *fakeBouncer) CheckSender(_ context.Context, s *caddymsa.Submission) error {
	s.OnEnd(func(accepted bool) { w := p.world(); w.change(func() { w.ended = append(w.ended, accepted) }) })
	return p.at("sender", s, nil)
}

func (p *fakeBouncer) CheckRecipient(_ context.Context, s *caddymsa.Submission, _ *queue.Recipient) error {
	return p.at("recipient", s, nil)
}

func (p *fakeBouncer) CheckMessage(_ context.Context, s *caddymsa.Submission, m *caddymsa.Message) error {
	return p.at("message", s, m)
}

// fakeIdentity stands for sender_identity, which every server has.
type fakeIdentity struct{}

func (fakeIdentity) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "msa.policies.sender_identity", New: func() caddy.Module { return new(fakeIdentity) }}
}

func (fakeIdentity) CheckSender(_ context.Context, s *caddymsa.Submission) error {
	if !s.Sender.IsNull() && !s.Identity.MaySendAs(s.Sender) {
		return caddymsa.Refuse("", "Not an address of yours")
	}
	s.Entry.ReturnPath = true
	return nil
}

// fakeDomain matches recipients by the end of their address.
type fakeDomain []string

func (*fakeDomain) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "msa.matchers.domain", New: func() caddy.Module { return new(fakeDomain) }}
}

func (*fakeDomain) Moment() caddymsa.Moment { return caddymsa.MomentRecipient }

func (d *fakeDomain) Match(_ *queue.Entry, r *queue.Recipient) (bool, error) {
	for _, domain := range *d {
		if strings.HasSuffix(r.Complete(), "@"+domain) {
			return true, nil
		}
	}
	return false, nil
}

// fakeContent needs the message.
type fakeContent string

func (*fakeContent) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "msa.matchers.content", New: func() caddy.Module { return new(fakeContent) }}
}

func (*fakeContent) Moment() caddymsa.Moment { return caddymsa.MomentMessage }

func (*fakeContent) Match(*queue.Entry, *queue.Recipient) (bool, error) {
	return false, errors.New("asked without a message")
}

func (f *fakeContent) MatchMessage(_ context.Context, _ *caddymsa.Submission, _ *queue.Recipient, m *caddymsa.Message) (bool, error) {
	r, err := m.Open()
	if err != nil {
		return false, err
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	return strings.Contains(string(b), string(*f)), err
}

// fakeSink delivers to its world.
type fakeSink struct {
	outside
	Name string `json:"name,omitempty"`
}

func (*fakeSink) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "msa.sinks.fake", New: func() caddy.Module { return new(fakeSink) }}
}

func (f *fakeSink) Deliver(ctx context.Context, d *queue.Delivery) error {
	r, err := d.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	w := f.world()
	for _, rcpt := range d.Recipients {
		w.mu.Lock()
		decide := w.sink
		w.mu.Unlock()
		if decide != nil {
			if err := decide(ctx, d, rcpt); queue.IsUnreachable(err) { // whoever it is for
				return err
			} else if err != nil {
				d.Report(rcpt, err)
				continue
			}
		}
		w.change(func() {
			w.delivered = append(w.delivered, delivered{f.Name, d.Entry.Sender, rcpt.Address, string(b)})
		})
		d.Report(rcpt, nil)
	}
	return nil
}

// CheckRecipient knows one mailbox that does not exist.
func (f *fakeSink) CheckRecipient(_ context.Context, _ *queue.Entry, r *queue.Recipient) error {
	if strings.HasPrefix(r.Address, "nobody@") {
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "No such mailbox"}
	}
	return nil
}

// fakeMap has logical-x for x.
type fakeMap struct{}

func (fakeMap) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "msa.address_maps.fake", New: func() caddy.Module { return new(fakeMap) }}
}

func (fakeMap) Actual(_ context.Context, logical mailaddr.Address) (string, bool, error) {
	actual, ok := strings.CutPrefix(logical.Exact, "logical-")
	return actual, ok, nil
}

func (fakeMap) Logical(_ context.Context, actual mailaddr.Address) (string, bool, error) {
	return "logical-" + actual.Exact, true, nil
}

// memorySpool is the world's.
type memorySpool struct {
	outside
	Disk  string `json:"disk,omitempty"`
	Plain bool   `json:"plain,omitempty"` // keeps no journal
}

func (*memorySpool) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "msa.spools.memory", New: func() caddy.Module { return new(memorySpool) }}
}

func (m *memorySpool) Key() string { return "memory:" + m.World + m.Disk }

func (m *memorySpool) Open(context.Context, *zap.Logger) (queue.OpenSpool, error) {
	disk := m.world().disk(m.Disk)
	disk.Reopen()
	if m.Plain {
		return plainDisk{disk}, nil
	}
	return checkedDisk{disk}, nil
}

// plainDisk is nothing besides a spool.
type plainDisk struct{ queue.OpenSpool }

// checkedDisk can be checked, and is whole.
type checkedDisk struct{ *queuetest.MemSpool }

func (d checkedDisk) Check(ctx context.Context, progress func(int), _ func(id, problem string)) (messages int, octets int64, err error) {
	if messages, octets, err = d.Size(ctx); err == nil {
		progress(messages)
	}
	return messages, octets, err
}

// fakeWrapper counts connections.
type fakeWrapper struct{ outside }

func (*fakeWrapper) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "caddy.listeners.fake", New: func() caddy.Module { return new(fakeWrapper) }}
}

func (f *fakeWrapper) WrapListener(ln net.Listener) net.Listener {
	return &countingListener{Listener: ln, world: f.world()}
}

type countingListener struct {
	net.Listener
	world *world
}

func (l *countingListener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err == nil {
		l.world.change(func() { l.world.wrapped++ })
	}
	return nc, err
}

// fakeHandler notes events.
type fakeHandler struct{ outside }

func (*fakeHandler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "events.handlers.fake", New: func() caddy.Module { return new(fakeHandler) }}
}

func (h *fakeHandler) Handle(_ context.Context, e caddy.Event) error {
	w := h.world()
	var also func()
	w.change(func() { w.events, also = append(w.events, e.Name()), w.handler; w.told = append(w.told, e) })
	if also != nil {
		also()
	}
	return nil
}

// heard waits for an event.
func (in *instance) heard(name string) {
	in.t.Helper()
	in.await("event "+name, func() bool {
		in.mail.mu.Lock()
		defer in.mail.mu.Unlock()
		for _, e := range in.mail.events {
			if e == name {
				return true
			}
		}
		return false
	})
}

// arrived waits for so many copies.
func (in *instance) arrived(n int) []delivered {
	in.t.Helper()
	in.await("delivery", func() bool { return len(in.mail.copies()) >= n })
	time.Sleep(0)
	return in.mail.copies()
}
