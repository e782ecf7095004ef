package queue

import (
	"errors"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddy-msa/caddy-msa/caddymsa/logroom"
)

// log writes one line for an attempt, or one for each outcome where its recipients fared differently.
func (a *attempt) log() {
	eachAlike(a.Results, a.logLine)
}

// maxNamed is how many recipients of a deferred message a line names: it comes again and again.
const maxNamed = 10

func (a *attempt) logLine(results []Result) {
	level, first := zap.InfoLevel, &results[0]
	number := a.job.Attempts
	switch {
	case first.Outcome == OutcomeInterrupted:
		number++
	case errors.Is(first.Err, ErrNoRoute), a.job.Copy != "" && first.Outcome == OutcomeFailed:
		level = zap.ErrorLevel
	case first.Outcome != OutcomeDelivered:
		level = zap.WarnLevel
	}
	what := "delivery "
	if a.job.Copy != "" {
		what = "copy "
	}
	line := a.q.log.Check(level, what+string(first.Outcome))
	if line == nil {
		return
	}
	named := len(results)
	if first.Outcome == OutcomeDeferred || first.Outcome == OutcomeInterrupted {
		named = min(named, maxNamed)
	}
	all := make([]string, named)
	for i := range all {
		all[i] = results[i].Recipient.Address
	}
	at := now()
	room := logroom.Take()
	fields := append(room.Fields, zap.String(fieldQueueID, a.e.ID), zap.String(fieldRoute, a.Route), zap.String(fieldSender, a.e.Sender),
		zap.Strings(fieldRecipients, all), zap.String(fieldOutcome, string(first.Outcome)), zap.Int(fieldAttempt, number),
		zap.Duration(fieldDuration, a.Duration), zap.Duration(fieldAge, at.Sub(a.e.Accepted)))
	if a.job.Copy != "" {
		fields = append(fields, zap.String(fieldCopy, a.job.Copy))
	}
	if named < len(results) {
		fields = append(fields, zap.Int(fieldRecipientCount, len(results)))
	}
	if a.Lane != a.Route && a.Lane != "" {
		fields = append(fields, zap.String(fieldLane, a.Lane))
	}
	fields = first.Answer.fields(fields, first.Err == nil)
	if first.Err != nil {
		r := first.Recipient
		if r.RemoteMTA != "" {
			fields = append(fields, zap.String(fieldRemoteMTA, r.RemoteMTA))
		}
		if r.Code != 0 && first.Outcome != OutcomeInterrupted {
			fields = append(fields, zap.String(fieldReply, said(results)))
		}
		fields = append(fields, zap.String("error", oneLine(errorText(first.Err))))
	}
	if a.rec.Hold == "" && (first.Outcome != OutcomeDelivered && first.Outcome != OutcomeFailed) {
		fields = append(fields, zap.Duration(fieldNext, max(0, a.job.Due.Sub(at).Round(time.Millisecond))))
	}
	room.Write(line, fields)
}

// fields are what is known of the next hop.
func (n *Answer) fields(fields []zapcore.Field, reply bool) []zapcore.Field {
	for _, f := range []struct{ name, value string }{{fieldHost, n.Host}, {fieldAddress, n.Address}, {fieldTLS, n.TLS}, {fieldNextID, n.ID}} {
		if f.value != "" {
			fields = append(fields, zap.String(f.name, f.value))
		}
	}
	if reply && n.Reply != "" {
		fields = append(fields, zap.String(fieldReply, oneLine(n.Reply)))
	}
	return fields
}

func addressesOf(rcpts []*Recipient) []string {
	all := make([]string, len(rcpts))
	for i, r := range rcpts {
		all[i] = r.Address
	}
	return all
}
