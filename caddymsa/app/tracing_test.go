package app

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/contrib/exporters/autoexport"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// collected are the spans that reached the exporter of a test.
var collected struct {
	sync.Mutex
	spans []sdktrace.ReadOnlySpan
}

// memoryExporter is what OTEL_TRACES_EXPORTER=memory stands for.
type memoryExporter struct{}

func (memoryExporter) ExportSpans(_ context.Context, spans []sdktrace.ReadOnlySpan) error {
	collected.Lock()
	defer collected.Unlock()
	collected.spans = append(collected.spans, spans...)
	return nil
}

func (memoryExporter) Shutdown(context.Context) error { return nil }

func init() {
	autoexport.RegisterSpanExporter("memory", func(context.Context) (sdktrace.SpanExporter, error) { return memoryExporter{}, nil })
}

// tracing has spans collected from now on.
func tracing(t *testing.T) {
	t.Setenv("OTEL_TRACES_EXPORTER", "memory")
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "5")
	collected.Lock()
	defer collected.Unlock()
	collected.spans = nil
}

// spans are the children of each span by name: "" is the root's parent.
func spansOf(id string) (children map[string][]string, traces map[string]bool, text string) {
	collected.Lock()
	defer collected.Unlock()
	names, children, traces := make(map[string]string), make(map[string][]string), make(map[string]bool)
	for _, s := range collected.spans {
		names[s.SpanContext().SpanID().String()] = s.Name()
	}
	for _, s := range collected.spans {
		parent := names[s.Parent().SpanID().String()]
		children[parent] = append(children[parent], s.Name())
		traces[s.SpanContext().TraceID().String()] = true
		text += s.Name() + " " + s.Status().Description
		for _, a := range s.Attributes() {
			text += " " + string(a.Key) + "=" + a.Value.String()
		}
	}
	return children, traces, text
}

// One message's trace is whole from MAIL to delivery, across the spool and an attempt that failed, and names nobody.
func TestTrace(t *testing.T) {
	tracing(t)
	in := newInstance(t)
	in.mail.sink = func(_ context.Context, d *queue.Delivery, _ *queue.Recipient) error {
		if d.Attempt == 1 {
			return errors.New("later")
		}
		return nil
	}
	in.load(
		with("policies", []any{map[string]any{"policy": map[string]any{"module": "fake", "world": in.mail.id}}}),
		withAppField("tracing", map[string]any{}), withAppField("queue", map[string]any{"retry": []string{"10ms"}}))
	id := in.session().submit("bob@example.net")
	in.await("a whole trace", func() bool {
		children, traces, text := spansOf(id)
		below := strings.Join(children["transaction"], ",")
		return len(traces) == 1 && len(children[""]) == 1 && children[""][0] == "transaction" && len(children) == 2 &&
			strings.Contains(below, "policy fake") && strings.Contains(below, "policy sender_identity") && strings.Contains(below, "commit") &&
			strings.Count(below, "attempt") == 2 && strings.Contains(text, "msa.queue_id="+id) && strings.Contains(text, "msa.delivered=1") && strings.Contains(text, "msa.deferred=1")
	})
	_, traces, text := spansOf(id)
	if strings.Contains(text, "alice") || strings.Contains(text, "bob") {
		t.Errorf("somebody is named: %s", text)
	}
	for trace := range traces {
		in.logged("message accepted", id, `"trace_id":"`+trace+`"`)
	}
}

// A message that comes by HTTP is part of its request's trace, with its delivery. What clients name is heeded so many
// times a second; then, and where nothing valid is named, a message has a trace of its own.
func TestTraceOfRequest(t *testing.T) {
	tracing(t)
	in := newInstance(t)
	in.load(withAppField("tracing", map[string]any{}))
	begin := func(id byte, remote bool, flags trace.TraceFlags) {
		t.Helper()
		parent := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{id}, SpanID: trace.SpanID{id}, TraceFlags: flags, Remote: remote})
		d, err := in.visit("alice@example.org").Begin(trace.ContextWithSpanContext(t.Context(), parent), envelopeTo("bob@example.net"), nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.Write([]byte(letter)); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	of := func(id byte) (names string) {
		collected.Lock()
		defer collected.Unlock()
		for _, s := range collected.spans {
			if s.SpanContext().TraceID() == (trace.TraceID{id}) {
				names += s.Name() + " "
				if s.Name() == "transaction" && s.Parent().SpanID() != (trace.SpanID{id}) {
					t.Errorf("below %s", s.Parent().SpanID())
				}
			}
		}
		return names
	}
	begin(1, true, trace.FlagsSampled)
	begin(2, false, trace.FlagsSampled)
	for _, id := range []byte{1, 2} {
		in.await("its trace", func() bool {
			return strings.Contains(of(id), "transaction") && strings.Contains(of(id), "attempt")
		})
	}
	begin(3, true, 0) // the client keeps no spans: nor do we, unless OTEL_TRACES_SAMPLER says otherwise
	now := time.Now()
	joins := func(ctx context.Context) bool { return trace.SpanContextFromContext(parentOf(ctx, now)).IsValid() }
	remote := trace.ContextWithSpanContext(t.Context(), trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{4}, SpanID: trace.SpanID{4}, Remote: true}))
	now = now.Add(time.Hour)
	for n := range maxJoined {
		if !joins(remote) {
			t.Fatalf("only %d are joined", n)
		}
	}
	if joins(remote) {
		t.Errorf("more than %d are joined", maxJoined)
	}
	if now = now.Add(time.Second); !joins(remote) {
		t.Error("none is joined in the next second")
	}
	if joins(t.Context()) {
		t.Error("nothing was named")
	}
	begin(5, true, trace.FlagsSampled)
	in.await("the latest", func() bool { return strings.Contains(of(5), "attempt") })
	if of(3) != "" {
		t.Error(of(3))
	}
}

// A bounce is part of the trace of what it is about; a refusal ends one, with the client's reply and not its cause.
func TestTraceBounce(t *testing.T) {
	tracing(t)
	in := newInstance(t)
	in.mail.sink = func(_ context.Context, d *queue.Delivery, _ *queue.Recipient) error {
		if !d.Entry.Bounce {
			return errPermanent()
		}
		return nil
	}
	in.load(with("policies", []any{map[string]any{"policy": map[string]any{"module": "fake", "world": in.mail.id}}}), withAppField("tracing", map[string]any{}))
	c := in.session()
	c.submit("bob@example.net")
	in.await("the bounce's attempt", func() bool {
		children, traces, text := spansOf("")
		return len(traces) == 1 && strings.Count(strings.Join(children["transaction"], ","), "attempt") == 2 && strings.Contains(text, "msa.kind=bounce")
	})
	in.mail.change(func() {
		in.mail.policy = func(moment string, _ *caddymsa.Submission, _ *caddymsa.Message) error {
			if moment == "sender" {
				return &caddymsa.Refusal{Code: 550, Text: "No", Err: errors.New("alice is on the list")}
			}
			return nil
		}
	})
	c.do("MAIL FROM:<alice@example.org>", "550")
	in.await("the refusal", func() bool {
		_, traces, text := spansOf("")
		return len(traces) == 2 && strings.Contains(text, "policy fake No (fake)") && strings.Contains(text, "msa.accepted=false") && !strings.Contains(text, "alice")
	})
}

// Where nothing is traced, the entry has no context and there are no spans. An exporter that there is not is an error at load.
func TestTraceOff(t *testing.T) {
	tracing(t)
	in := newInstance(t)
	in.load()
	in.session().submit("bob@example.net")
	in.arrived(1)
	if strings.Contains(in.log(), "trace_id") {
		t.Error("there is a trace in the log")
	}
	if _, traces, text := spansOf(""); len(traces) > 0 {
		t.Error(text)
	}
	t.Setenv("OTEL_TRACES_EXPORTER", "nonsense")
	in.refuses(withAppField("tracing", map[string]any{}), "tracing: ", "nonsense")
}

// A reload keeps the provider, and one without tracing ends it.
func TestTraceReload(t *testing.T) {
	tracing(t)
	in := newInstance(t)
	in.load(withAppField("tracing", map[string]any{}))
	c := in.session()
	c.submit("bob@example.net")
	in.load(withAppField("tracing", map[string]any{}), withAppField("grace_period", "6s"))
	c.submit("bob@example.net")
	in.await("both", func() bool { _, traces, _ := spansOf(""); return len(traces) == 2 })
	in.load()
	if _, open := providers.References(providerKey); open {
		t.Error("the provider is still there")
	}
	c.submit("bob@example.net")
	in.arrived(3)
	if _, traces, _ := spansOf(""); len(traces) != 2 {
		t.Errorf("%d traces", len(traces))
	}
}

// BenchmarkStepOff is what a policy costs besides where nothing is traced.
func BenchmarkStepOff(b *testing.B) {
	ctx, cancel := context.WithCancel(context.WithValue(context.Background(), trailKey{}, 1))
	defer cancel()
	b.ReportAllocs()
	for b.Loop() {
		step(ctx, "policy ", "fake")(nil)
	}
}
