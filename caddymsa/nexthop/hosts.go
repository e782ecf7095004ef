package nexthop

import (
	"cmp"
	"context"
	"errors"
	"regexp"
	"strings"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// Deliver hands a delivery's message to the first of the hosts that can be reached. A host that answers
// MAIL, whatever it says, is the one that counts.
func Deliver(ctx context.Context, hosts []*Hop, d *queue.Delivery) error {
	if len(hosts) == 0 {
		return errors.New("there is no host to ask")
	}
	m := messageOf(d)
	var failures []error
	lane := true
	for _, h := range order(hosts, time.Now()) {
		err := h.Deliver(ctx, &m.Message)
		if err == nil {
			return nil
		}
		failures = append(failures, err)
		f := AsFailure(err)
		lane = lane && f != nil && f.Lane
		if f == nil || !f.Elsewhere {
			break
		}
	}
	err := failures[len(failures)-1]
	if f := AsFailure(err); f != nil {
		for _, r := range m.Recipients {
			m.answered(r, f.Where, f.Reply, ReplyOf(err) != nil)
		}
	}
	if len(failures) > 1 && ReplyOf(err) == nil {
		err = errors.Join(failures...)
	}
	if lane {
		return queue.Unreachable(err)
	}
	return err
}

// downFor is how long a host that could not be reached is asked after others.
const downFor = time.Minute

// order puts those last that could not be reached a moment ago.
func order(hosts []*Hop, now time.Time) []*Hop {
	var up, down []*Hop
	for _, h := range hosts {
		if h.Down(now, downFor) {
			down = append(down, h)
		} else {
			up = append(up, h)
		}
	}
	return append(up, down...)
}

// queued is a delivery as a message: recipients of one address are one.
type queued struct {
	Message
	delivery *queue.Delivery
}

func messageOf(d *queue.Delivery) *queued {
	e := d.Entry
	q := &queued{delivery: d}
	q.Message = Message{
		Sender: e.Sender, Hello: cmp.Or(d.Hostname, e.Server), Open: d.Open, Report: q.report, Final: d.Final,
		Options: MailOptions{
			MailOptions: smtp.MailOptions{Size: e.Size, UTF8: e.SMTPUTF8, Return: smtp.DSNReturn(e.Return), EnvelopeID: e.EnvelopeID},
			Priority:    e.Priority,
		},
	}
	known := make(map[string]*Recipient)
	for i, r := range d.Recipients {
		notify := notifyOptions(r.Notify)
		if d.Copy != "" { // of which nobody is to hear
			notify = []smtp.DSNNotify{smtp.DSNNotifyNever}
		}
		key := foldDomain(r.Address)
		if twin := known[key]; twin != nil {
			twin.Options.Notify = mergeNotify(twin.Options.Notify, notify)
			if twin.Options.ORCPT == "" {
				twin.Options.ORCPT = r.ORCPT
			}
			twin.of = append(twin.of, r)
			continue
		}
		rcpt := &Recipient{Address: r.Address, Options: RcptOptions{RcptOptions: smtp.RcptOptions{Notify: notify}, ORCPT: r.ORCPT}, of: d.Recipients[i : i+1 : i+1]}
		known[key] = rcpt
		q.Recipients = append(q.Recipients, rcpt)
	}
	return q
}

// foldDomain is an address with its domain in lower case: what is before that is for its hosts to compare.
func foldDomain(address string) string {
	at := strings.LastIndexByte(address, '@') + 1
	return address[:at] + strings.ToLower(address[at:])
}

func (q *queued) report(r *Recipient, o Outcome) {
	for _, to := range r.of {
		q.delivery.Report(to, o.Err)
		if o.Err == nil && o.Relayed {
			q.delivery.Relayed(to, o.Notifies)
		}
	}
	q.answered(r, o.Where, o.Reply, ReplyOf(o.Err) != nil && o.Reply != nil)
}

// answered notes what the hop said, for log and history; and that it was the hop, for the notification of a
// message that it has refused.
func (q *queued) answered(r *Recipient, w Where, reply *smtp.SMTPError, refused bool) {
	a := queue.Answer{Host: w.Host, Address: w.Address, TLS: w.TLS}
	if reply != nil {
		a.Reply, a.ID = replyText(reply), queueID(reply.Message)
	}
	for _, to := range r.of {
		to.RemoteMTA = ""
		if refused {
			to.RemoteMTA = w.Host
		}
		q.delivery.Answered(to, a)
	}
}

// idPattern finds the queue id in what mail servers say when they take a message: "Ok: queued as 4XYZ" (Postfix
// and others), "OK id=1x2y3z-000000-01" (Exim), "<bob@example.net> AbC1 Saved" (Dovecot), "2.0.0 x1y2 Message
// accepted for delivery" (Sendmail), "2.6.0 <id> [InternalId=..., Hostname=...] Queued mail for delivery" (Exchange).
// How long it may be is not for the pattern to say, which repetitions of up to 64 would make a large and slow machine.
var idPattern = regexp.MustCompile(`(?i)\bqueued as[: ]*<?([^\s<>()\[\],]+)|\bid=<?([^\s<>()\[\],]+)|^<[^\s<>]*> (\S+) Saved\b|^(\S{4}\S*) Message accepted for delivery|\bInternalId=(\d+)`)

const maxID = 64

// queueID is the next hop's id of the message that it has taken, if its reply names one that can be shown and looked for.
func queueID(text string) string {
	const most = 500 // of the text; an id comes early
	found := idPattern.FindStringSubmatch(text[:min(len(text), most)])
	for _, id := range found[min(1, len(found)):] {
		if id != "" && isPrintable(id) {
			return strings.TrimRight(id[:min(len(id), maxID)], ".;")
		}
	}
	return ""
}
