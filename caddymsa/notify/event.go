package notify

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"strings"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
)

// Event is what a receiver is told: a fact of the journal, in the form that docs/notify.md describes.
type Event struct {
	// ID is the same whenever this fact is told, and no other fact's.
	ID   string
	Fact *journal.Fact
}

// NewEvent is of a fact.
func NewEvent(f *journal.Fact) *Event {
	text, err := json.Marshal(f) // without its position: that is a place in one spool
	if err != nil {
		text = []byte(f.ID + string(f.What) + f.Time.String())
	}
	sum := sha256.Sum256(text)
	return &Event{ID: "msg_" + strings.ToLower(base32.StdEncoding.EncodeToString(sum[:20])), Fact: f}
}

// Type is what happened, such as message.delivered. That of a copy is another, copy.delivered: who waits for
// a message must not take its copy for it.
func (e *Event) Type() string {
	if e.aboutCopy() {
		return "copy." + string(e.Fact.What)
	}
	return "message." + string(e.Fact.What)
}

func (e *Event) aboutCopy() bool { return e.Fact.Visit != nil && e.Fact.Copy != "" }

// data is an event's content. Fields are only ever added.
type data struct {
	QueueID    string   `json:"queue_id,omitempty"`
	Server     string   `json:"server,omitempty"`
	User       string   `json:"user,omitempty"`
	Sender     string   `json:"sender"`
	Recipients []string `json:"recipients,omitempty"`
	Count      int      `json:"recipient_count,omitempty"`
	Error      string   `json:"error,omitempty"`
	Reason     string   `json:"reason,omitempty"`

	Route      string     `json:"route,omitempty"`
	Lane       string     `json:"lane,omitempty"`
	Copy       string     `json:"copy,omitempty"`
	Attempt    int        `json:"attempt,omitempty"`
	Host       string     `json:"host,omitempty"`
	Address    string     `json:"address,omitempty"`
	TLS        string     `json:"tls,omitempty"`
	Reply      string     `json:"reply,omitempty"`
	HopID      string     `json:"hop_id,omitempty"`
	Code       int        `json:"code,omitempty"`
	Status     string     `json:"status,omitempty"`
	DurationMS int64      `json:"duration_ms,omitempty"`
	Next       *time.Time `json:"next,omitempty"`

	Size       int64  `json:"size,omitempty"`
	EnvelopeID string `json:"envelope_id,omitempty"`
	RemoteIP   string `json:"remote_ip,omitempty"`
	Session    string `json:"session,omitempty"`
	Bounce     bool   `json:"bounce,omitempty"`

	Notification string `json:"notification,omitempty"`
	By           string `json:"by,omitempty"`
	Moment       string `json:"moment,omitempty"`
	Policy       string `json:"policy,omitempty"`
}

// MarshalJSON writes type, timestamp and data.
func (e *Event) MarshalJSON() ([]byte, error) {
	f := e.Fact
	d := data{QueueID: f.ID, Server: f.Server, User: f.User, Sender: f.Sender, Recipients: f.Recipients, Count: f.Count,
		Notification: f.Notification, By: f.By, Moment: f.Moment, Policy: f.Policy, Reply: f.Reply}
	switch f.What {
	case journal.Deferred, journal.Failed, journal.Expired:
		d.Error = f.Text
	default:
		d.Reason = f.Text
	}
	if v := f.Visit; v != nil {
		d.Route, d.Lane, d.Copy, d.Attempt, d.Host, d.Address, d.TLS = v.Route, v.Lane, v.Copy, v.Attempt, v.Host, v.Address, v.TLS
		d.HopID, d.Code, d.Status, d.DurationMS = v.HopID, v.Code, v.Status, v.Duration.Milliseconds()
		if v.Answer != "" {
			d.Reply = v.Answer
		}
		if !v.Next.IsZero() {
			d.Next = &v.Next
		}
	}
	if s := f.Submission; s != nil {
		d.Size, d.EnvelopeID, d.RemoteIP, d.Session, d.Bounce = s.Size, s.EnvelopeID, s.RemoteIP, s.Session, s.Bounce
	}
	return json.Marshal(struct {
		Type      string    `json:"type"`
		Timestamp time.Time `json:"timestamp"`
		Data      data      `json:"data"`
	}{e.Type(), f.Time.UTC(), d})
}

// ForUser is what a user may know of it: nothing of how the operator arranges things. Nil: nothing at all.
func (e *Event) ForUser() *Event {
	if e.aboutCopy() {
		return nil
	}
	f := *e.Fact
	f.By = ""
	if f.Visit != nil {
		v := *f.Visit
		v.Route, v.Lane = "", ""
		f.Visit = &v
	}
	return &Event{ID: e.ID, Fact: &f}
}
