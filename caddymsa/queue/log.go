package queue

import (
	"errors"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// logPart writes one line for an attempt at one part, or one for each outcome
// where its recipients fared differently.
func (a *attempt) logPart(p *part) {
	eachAlike(p.Results, func(alike []Result) { a.logLine(p, alike) })
}

// like reports whether two results can share a line.
func (res *Result) like(other *Result) bool {
	return res.Outcome == other.Outcome &&
		res.Recipient.Error == other.Recipient.Error && res.Recipient.RemoteMTA == other.Recipient.RemoteMTA
}

func (a *attempt) logLine(p *part, results []Result) {
	level, first := zap.InfoLevel, &results[0]
	number := a.e.Attempts
	switch {
	case first.Outcome == OutcomePostponed:
		level = zap.DebugLevel
	case first.Outcome == OutcomeInterrupted:
		number++
	case errors.Is(first.Err, ErrNoRoute):
		level = zap.ErrorLevel
	case first.Outcome != OutcomeDelivered:
		level = zap.WarnLevel
	}
	line := a.q.log.Check(level, "delivery "+string(first.Outcome))
	if line == nil {
		return
	}
	all := make([]string, len(results))
	for i := range results {
		all[i] = results[i].Recipient.Address
	}
	at := now()
	fields := make([]zapcore.Field, 0, 12)
	fields = append(fields, zap.String(fieldQueueID, a.e.ID), zap.String(fieldRoute, p.name), zap.String(fieldSender, a.e.Sender),
		zap.Strings(fieldRecipients, all), zap.String(fieldOutcome, string(first.Outcome)), zap.Int(fieldAttempt, number),
		zap.Duration(fieldDuration, p.Duration), zap.Duration(fieldAge, at.Sub(a.e.Accepted)))
	if r := first.Recipient; first.Err != nil {
		if r.RemoteMTA != "" {
			fields = append(fields, zap.String(fieldRemoteMTA, r.RemoteMTA))
		}
		if r.Code != 0 && first.Outcome != OutcomeInterrupted {
			fields = append(fields, zap.String(fieldReply, r.Error))
		}
		fields = append(fields, zap.String("error", oneLine(errorText(first.Err))))
	}
	if a.e.Held == "" && (first.Outcome != OutcomeDelivered && first.Outcome != OutcomeFailed) {
		fields = append(fields, zap.Duration(fieldNext, max(0, a.e.Next.Sub(at).Round(time.Millisecond))))
	}
	line.Write(fields...)
}

func addressesOf(rcpts []*Recipient) []string {
	all := make([]string, len(rcpts))
	for i, r := range rcpts {
		all[i] = r.Address
	}
	return all
}
