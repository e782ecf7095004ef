package app

import (
	"context"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// Spans name neither users nor addresses: the queue id leads to them in the log and in the journal.

var serviceName = attribute.String("service.name", "caddy-msa") // unless OTEL_SERVICE_NAME says otherwise

// maxSpans bounds the spans of one transaction: there may be a thousand recipients, and policies for each.
const maxSpans = 100

// span is a transaction's, with those of its steps. Nil where nothing is traced.
type span struct {
	trace.Span
	tracer trace.Tracer
	left   int
}

type spanKey struct{}

// maxJoined is how many traces that clients name are joined in a second: who says that a trace is sampled decides
// that there are spans of it. What is beyond has traces of its own, as if nothing had been said.
const maxJoined = 100

// joined are those of this second.
var joined struct {
	sync.Mutex
	second int64
	n      int
}

// parentOf is what the span of a transaction is below: of a request, the web server's span, or what the client named.
func parentOf(ctx context.Context, now time.Time) context.Context {
	parent := trace.SpanContextFromContext(ctx)
	if parent.IsRemote() {
		joined.Lock()
		defer joined.Unlock()
		if second := now.Unix(); second != joined.second {
			joined.second, joined.n = second, 0
		}
		if joined.n++; joined.n > maxJoined {
			return context.Background()
		}
	}
	return trace.ContextWithSpanContext(context.Background(), parent)
}

// beginSpan is a transaction's from MAIL on.
func (t *transaction) beginSpan(ctx context.Context, srv *Server) {
	if srv.app.tracer == nil {
		return
	}
	_, s := srv.app.tracer.Start(parentOf(ctx, t.began), "transaction", trace.WithSpanKind(trace.SpanKindServer),
		trace.WithAttributes(attribute.String("msa.server", srv.name), attribute.String("msa.session", t.s.client.ID()), attribute.String("msa.mechanism", t.s.login.mechanism)))
	if !s.IsRecording() {
		s.End()
		return
	}
	t.span = &span{s, srv.app.tracer, maxSpans}
	carrier := make(propagation.MapCarrier)
	propagation.TraceContext{}.Inject(trace.ContextWithSpan(context.Background(), s), carrier)
	t.sub.Entry.Trace = carrier["traceparent"]
}

// traced is a call's context with the transaction's span.
func (t *transaction) traced(ctx context.Context) context.Context {
	if t.span == nil {
		return ctx
	}
	return context.WithValue(trace.ContextWithSpan(ctx, t.span), spanKey{}, t.span)
}

// endSpan is the transaction's end. It may be called again.
func (t *transaction) endSpan(accepted bool) {
	if t.span == nil {
		return
	}
	e := t.sub.Entry
	t.span.SetAttributes(attribute.String("msa.queue_id", e.ID), attribute.Int64("msa.size", t.size), attribute.Int("msa.recipients", len(e.Recipients)), attribute.Bool("msa.accepted", accepted))
	if !accepted {
		t.span.SetStatus(codes.Error, "not accepted")
	}
	t.span.End()
}

// step begins a span of a step of the transaction that the context is of; done ends it.
func step(ctx context.Context, kind, name string) (done func(error)) {
	parent, _ := ctx.Value(spanKey{}).(*span)
	if parent == nil || parent.left == 0 {
		return nothing
	}
	parent.left--
	_, s := parent.tracer.Start(ctx, kind+name)
	return func(err error) {
		if err != nil {
			s.SetStatus(codes.Error, toReply(err).Message) // what the client hears: the cause may name somebody
		}
		s.End()
	}
}

func nothing(error) {}

// traceID is for the log; empty where nothing is traced.
func (t *transaction) traceID() string {
	if t.span == nil {
		return ""
	}
	return t.span.SpanContext().TraceID().String()
}

// traceAttempt makes a span of an attempt that has ended, in the trace of the message's acceptance.
func (o observer) traceAttempt(a *queue.Attempt, kind string) {
	d := o.store.generations.top()
	if a.Entry.Trace == "" || d == nil || d.app.tracer == nil {
		return
	}
	ctx := propagation.TraceContext{}.Extract(context.Background(), propagation.MapCarrier{"traceparent": a.Entry.Trace})
	end := time.Now()
	_, s := d.app.tracer.Start(ctx, "attempt", trace.WithTimestamp(end.Add(-a.Duration)), trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(attribute.String("msa.queue_id", a.Entry.ID), attribute.String("msa.route", a.Route), attribute.String("msa.lane", a.Lane), attribute.String("msa.kind", kind)))
	if s.IsRecording() {
		counts := make(map[queue.Outcome]int)
		for _, r := range a.Results {
			counts[r.Outcome]++
		}
		for outcome, n := range counts {
			s.SetAttributes(attribute.Int("msa."+string(outcome), n))
		}
		if counts[queue.OutcomeDelivered] < len(a.Results) {
			s.SetStatus(codes.Error, "not delivered to all")
		}
	}
	s.End(trace.WithTimestamp(end))
}
