package app

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/app/places"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
	"github.com/caddy-msa/caddy-msa/caddymsa/notify"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// NotifyConfig is somebody who is told what becomes of a server's messages: each event of the journal at least once, those of
// a message in their order. A receiver that is away or slow holds up neither delivery nor other receivers; what it was not told
// waits in the journal.
type NotifyConfig struct {
	// Match restricts it to what one of these sets matches. The journal can answer user, sender_domain and recipient_domain; of an event
	// about several recipients those are told that match, and events that name no recipients match no recipient_domain. Empty: everything.
	MatcherSetsRaw []caddy.ModuleMap `json:"match,omitempty" caddy:"namespace=msa.matchers"`
	// Name in log and metrics, and by which it is remembered how far it was told: one that keeps its name goes on where it was, whatever
	// else changes. Default: the notifier's name and where it leads.
	Name string `json:"name,omitempty"`
	// On are the events: accepted, deferred, delivered, failed, expired, bounced, told, untold, held, released, retried, rerouted,
	// deleted, moved and refused. Default: deferred, delivered, failed, expired and deleted.
	On []string `json:"on,omitempty"`
	// Concurrency is how many events are told at once. Default: 8; where each user has a receiver, 64.
	Concurrency int `json:"concurrency,omitempty"`
	// Notifier is who is told: a module.
	NotifierRaw json.RawMessage `json:"notifier,omitempty" caddy:"namespace=msa.notifiers inline_key=module"`

	srv      *Server
	on       map[journal.Kind]bool
	matchers matcherSets
	byRcpt   bool // a matcher asks for the recipient
	notifier caddymsa.Notifier
	users    *userIdentities // where each has a receiver
	label    string          // in log and metrics
	cursor   string          // its name in the journal
	log      *zap.Logger
}

// notifyEvents are what On can have.
var notifyEvents = []string{
	string(journal.Accepted), string(journal.Deferred), string(journal.Delivered), string(journal.Failed), string(journal.Expired),
	string(journal.Bounced), string(journal.Told), string(journal.Untold), string(journal.Held), string(journal.Released), string(journal.Retried), string(journal.Rerouted),
	string(journal.Deleted), string(journal.Moved), string(journal.Refused),
}

// toldByDefault are those that say what became of recipients.
var toldByDefault = []string{string(journal.Deferred), string(journal.Delivered), string(journal.Failed), string(journal.Expired), string(journal.Deleted)}

// answerable are the matchers that what a fact has can answer.
var answerable = []string{"recipient_domain", "sender_domain", "user"}

func (c *NotifyConfig) provision(ctx caddy.Context, srv *Server) error {
	c.srv = srv
	if c.NotifierRaw == nil {
		return errors.New(`a notifier is required, as in "notifier": {"module": "webhook", "url": "https://hooks.example.org/mail"}`)
	}
	if c.Name != "" && !notifierName.MatchString(c.Name) {
		return fmt.Errorf("name: %q is not a name (letters, digits, spaces and ._-, up to 100)", c.Name)
	}
	if len(c.On) == 0 {
		c.On = toldByDefault
	}
	c.on = make(map[journal.Kind]bool)
	for _, name := range c.On {
		if err := conf.OneOf(name, notifyEvents...); err != nil {
			return fmt.Errorf("on: %w", err)
		}
		c.on[journal.Kind(name)] = true
	}
	for _, set := range c.MatcherSetsRaw {
		for _, name := range slices.Sorted(maps.Keys(set)) {
			if !slices.Contains(answerable, name) {
				return fmt.Errorf("match: the journal does not keep what matcher %s asks about; use %s", name, conf.And(answerable))
			}
			c.byRcpt = c.byRcpt || name == "recipient_domain"
		}
	}
	mod, err := ctx.LoadModule(c, "NotifierRaw")
	if err != nil {
		return err
	}
	var ok bool
	if c.notifier, ok = mod.(caddymsa.Notifier); !ok {
		return fmt.Errorf("%s is not a notifier", moduleName(mod))
	}
	most := 8
	if _, ok := mod.(caddymsa.UserNotifier); ok {
		most = 64
		if c.users, err = newUserIdentities(srv); err != nil {
			return err
		}
	}
	if err := conf.SetDefault(&c.Concurrency, most, "concurrency"); err != nil {
		return err
	}
	if c.Concurrency > maxTellers {
		return fmt.Errorf("concurrency: %d is too large; %d is the most", c.Concurrency, maxTellers)
	}
	c.identify(moduleName(mod))
	c.matchers, err = loadMatchers(ctx, c, "MatcherSetsRaw", c.MatcherSetsRaw, caddymsa.MomentRecipient)
	return err
}

// maxTellers bounds Concurrency: there is room in memory for the answer of each.
const maxTellers = 10_000

// identify names it for people, and for the journal.
func (c *NotifyConfig) identify(module string) {
	key, label := c.notifier.Receiver()
	c.label = module + " " + label
	sum := sha256.Sum256([]byte(module + "\x00" + key))
	id := "receiver " + module + " " + hex.EncodeToString(sum[:8]) // the key may have a secret in it
	if c.Name != "" {
		c.label, id = c.Name, "name "+c.Name
	}
	c.cursor = c.srv.cursors() + id
}

// cursors is what the names of all of a server's notifiers begin with in the journal.
func (srv *Server) cursors() string { return "notify " + srv.name + " " }

// notifierName is what a name may look like.
var notifierName = regexp.MustCompile(`^[\pL\pN._ -]{1,100}$`)

func (srv *Server) provisionNotifiers(ctx caddy.Context) error {
	if len(srv.Notify) > 0 && srv.app.Journal.isOff() {
		return errors.New("notify: the journal is off, and what others are told comes out of it; remove journal off, or notify")
	}
	cursors, labels := make(map[string]int), make(map[string]bool)
	for i, c := range srv.Notify {
		which := "the " + places.Ordinal(i+1) + " notifier"
		if c == nil {
			return fmt.Errorf("%s is empty", which)
		}
		raw := c.NotifierRaw // which loading empties
		if err := srv.item(which, raw, c.provision(ctx, srv)); err != nil {
			return err
		}
		if before, taken := cursors[c.cursor]; taken {
			return srv.item(which, raw, fmt.Errorf("it has the name or receiver of the %s; give each a name of its own", places.Ordinal(before)))
		}
		cursors[c.cursor] = i + 1
		for n := 2; labels[c.label]; n++ { // two services on one host
			c.label = fmt.Sprintf("%s #%d", c.notifierLabel(), n)
		}
		labels[c.label] = true
		c.log = srv.log.With(zap.String("notifier", c.label))
	}
	return nil
}

// notifierLabel is the label without a number.
func (c *NotifyConfig) notifierLabel() string {
	_, label := c.notifier.Receiver()
	return moduleName(c.notifier) + " " + label
}

// choose makes of a fact what is told of it; nil: nothing.
func (c *NotifyConfig) choose(f *journal.Fact) *notify.Event {
	if f.Server != c.srv.name || !c.on[f.What] || c.users != nil && f.User == "" {
		return nil
	}
	e := notify.NewEvent(f)
	if c.users != nil {
		if e = e.ForUser(); e == nil {
			return nil
		}
	}
	if len(c.matchers) == 0 {
		return e
	}
	about := &queue.Entry{ID: f.ID, Server: f.Server, User: f.User, Sender: f.Sender}
	if !c.byRcpt {
		if !c.matches(about, &queue.Recipient{}) {
			return nil
		}
		return e
	}
	var rcpts []string
	for _, address := range f.Recipients {
		if c.matches(about, &queue.Recipient{Address: address}) {
			rcpts = append(rcpts, address)
		}
	}
	if len(rcpts) == 0 {
		return nil
	}
	if len(rcpts) < len(f.Recipients) { // of those whom it does not name nothing is known
		part := *e.Fact
		part.Recipients, part.Count = rcpts, len(rcpts)
		e.Fact = &part
	}
	return e
}

func (c *NotifyConfig) matches(e *queue.Entry, r *queue.Recipient) bool {
	ok, err := c.matchers.matchEntry(e, r)
	if err != nil {
		c.log.Error("a matcher failed; the event is not told", zap.String(fieldQueueID, e.ID), zap.Error(err))
	}
	return ok && err == nil
}
