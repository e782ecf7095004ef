package integration

import (
	"compress/gzip"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	_ "google.golang.org/grpc/encoding/gzip" // for a client that compresses
	"google.golang.org/protobuf/proto"

	"github.com/caddy-msa/caddy-msa/caddymsa/nexthop/hoptest"
)

// receiver is a collector of OpenTelemetry that keeps what it is sent, by HTTP (protobuf) and by gRPC.
type receiver struct {
	collector.UnimplementedTraceServiceServer
	http, grpc string // URLs
	mu         sync.Mutex
	spans      []*tracepb.Span
	services   []string
	encodings  []string // of HTTP
	broken     []string
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := new(receiver)
	web := &http.Server{Handler: r, ReadHeaderTimeout: patience}
	rpc := grpc.NewServer()
	collector.RegisterTraceServiceServer(rpc, r)
	serve := func(to func(net.Listener) error) string {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go func() { _ = to(ln) }()
		return "http://" + ln.Addr().String()
	}
	r.http, r.grpc = serve(web.Serve), serve(rpc.Serve)
	t.Cleanup(func() {
		_ = web.Close()
		rpc.Stop()
	})
	return r
}

// Export is OTLP's call by gRPC.
func (r *receiver) Export(_ context.Context, req *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, resource := range req.GetResourceSpans() {
		for _, a := range resource.GetResource().GetAttributes() {
			if a.GetKey() == "service.name" {
				r.services = append(r.services, a.GetValue().GetStringValue())
			}
		}
		for _, scope := range resource.GetScopeSpans() {
			r.spans = append(r.spans, scope.GetSpans()...)
		}
	}
	return new(collector.ExportTraceServiceResponse), nil
}

// ServeHTTP is OTLP's call by HTTP.
func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if err := r.post(w, req); err != nil {
		r.mu.Lock()
		r.broken = append(r.broken, err.Error())
		r.mu.Unlock()
		http.Error(w, err.Error(), http.StatusBadRequest)
	}
}

func (r *receiver) post(w http.ResponseWriter, req *http.Request) (err error) {
	if kind := req.Header.Get("Content-Type"); req.Method != http.MethodPost || req.URL.Path != "/v1/traces" || kind != "application/x-protobuf" {
		return fmt.Errorf("%s %s of %s", req.Method, req.URL.Path, kind)
	}
	encoding := req.Header.Get("Content-Encoding")
	from := io.Reader(req.Body)
	if encoding == "gzip" {
		if from, err = gzip.NewReader(req.Body); err != nil {
			return err
		}
	}
	body, err := io.ReadAll(from)
	if err != nil {
		return err
	}
	export := new(collector.ExportTraceServiceRequest)
	if err := proto.Unmarshal(body, export); err != nil {
		return err
	}
	r.mu.Lock()
	r.encodings = append(r.encodings, encoding)
	r.mu.Unlock()
	if _, err := r.Export(req.Context(), export); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
	return nil
}

// trace is the spans that have the message's queue id or are below one that has it, as "name of parent" with the status' text,
// in the order of their beginning; ids is how many traces they are of.
func (r *receiver) trace(id string) (story []string, trace string, ids int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	traces := make(map[string]bool)
	names := make(map[string]string)
	for _, s := range r.spans {
		names[string(s.GetSpanId())] = s.GetName()
		for _, a := range s.GetAttributes() {
			if a.GetKey() == "msa.queue_id" && a.GetValue().GetStringValue() == id {
				trace = hex.EncodeToString(s.GetTraceId())
				traces[trace] = true
			}
		}
	}
	sorted := slices.Clone(r.spans)
	slices.SortStableFunc(sorted, func(a, b *tracepb.Span) int { return int(a.GetStartTimeUnixNano()) - int(b.GetStartTimeUnixNano()) })
	for _, s := range sorted {
		if !traces[hex.EncodeToString(s.GetTraceId())] {
			continue
		}
		line := s.GetName()
		if parent := names[string(s.GetParentSpanId())]; parent != "" {
			line += " of " + parent
		}
		if text := s.GetStatus().GetMessage(); text != "" {
			line += ": " + text
		}
		story = append(story, line)
	}
	return story, trace, len(traces)
}

// One message's spans come to a collector as OpenTelemetry's protocol says, by each of its transports, from MAIL over an attempt
// that failed and the end of the process to the delivery: one trace.
func TestTraceToCollector(t *testing.T) {
	t.Parallel()
	for name, env := range map[string]func(*receiver) []string{
		"http": func(r *receiver) []string { return []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + r.http} },
		"http gzip": func(r *receiver) []string {
			return []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + r.http, "OTEL_EXPORTER_OTLP_COMPRESSION=gzip"}
		},
		"grpc gzip": func(r *receiver) []string {
			return []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + r.grpc, "OTEL_EXPORTER_OTLP_PROTOCOL=grpc", "OTEL_EXPORTER_OTLP_COMPRESSION=gzip", "OTEL_SERVICE_NAME=submission"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newReceiver(t)
			var mu sync.Mutex
			takes := false
			hop := hoptest.New(t, func(h *hoptest.Hop) {
				h.TLS = nil
				h.Reply = func(line string) string {
					mu.Lock()
					defer mu.Unlock()
					if strings.HasPrefix(line, "RCPT") && !takes {
						return "451 4.2.1 Mailbox is busy"
					}
					return ""
				}
			})
			s := newServer(t)
			s.env = append([]string{"OTEL_BSP_SCHEDULE_DELAY=20"}, env(r)...)
			s.write("Caddyfile", s.caddyfile(layout{msa: "tracing\n\tdeliver relay " + hop.Addr + " {\n\t\ttls off\n\t}\n\tqueue {\n\t\tretry 1h\n\t}"}))
			s.writeUsers("")
			s.run()
			id := s.mustSend(s.tlsConfig(), "alice@example.org", "alice@example.org", "bob@example.net", "From: alice@example.org\r\nSubject: x\r\n\r\nHello\r\n")
			s.await("the attempt that failed", func() bool {
				story, _, _ := r.trace(id)
				return slices.Contains(story, "attempt of transaction: not delivered to all")
			})
			mu.Lock()
			takes = true
			mu.Unlock()
			s.stop() // what is left of spans comes with it
			s.run()
			s.mustMSA("queue", "retry", id)
			want := []string{"transaction", "policy sender_identity of transaction", "commit of transaction", "attempt of transaction: not delivered to all", "attempt of transaction"}
			s.await("the delivery", func() bool {
				story, _, _ := r.trace(id)
				return slices.Contains(story, want[len(want)-1])
			})
			story, trace, ids := r.trace(id)
			for _, w := range want {
				if !slices.Contains(story, w) {
					t.Errorf("no %q", w)
				}
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			if ids != 1 || story[0] != "transaction" || story[len(story)-1] != "attempt of transaction" || len(r.broken) > 0 {
				t.Errorf("%d traces: %q; %q", ids, story, r.broken)
			}
			s.await("a line in the log that leads to the trace", func() bool { return strings.Contains(s.log.String(), `"trace_id":"`+trace+`"`) })
			service, encoding := "caddy-msa", ""
			if name == "grpc gzip" {
				service = "submission"
			}
			if name == "http gzip" {
				encoding = "gzip"
			}
			for _, got := range r.services {
				if got != service {
					t.Errorf("service.name is %q, want %q", got, service)
				}
			}
			for _, got := range r.encodings {
				if got != encoding {
					t.Errorf("content encoding %q, want %q", got, encoding)
				}
			}
		})
	}
}

// A collector that takes the connection and is silent, or is not there, holds up no message and not the end of the process:
// OpenTelemetry itself would wait for an hour here, and has room for four spans.
func TestTraceToNobody(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // the kernel accepts, and nobody reads
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	for name, address := range map[string]string{"silent": silent.Addr().String(), "away": freeAddress(t)} {
		for _, protocol := range []string{"http/protobuf", "grpc"} {
			t.Run(name+" "+protocol, func(t *testing.T) {
				t.Parallel()
				s := newServer(t)
				s.env = []string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://" + address, "OTEL_EXPORTER_OTLP_PROTOCOL=" + protocol, "OTEL_EXPORTER_OTLP_TIMEOUT=3600000",
					"OTEL_BSP_EXPORT_TIMEOUT=3600000", "OTEL_BSP_MAX_QUEUE_SIZE=4", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE=2", "OTEL_BSP_SCHEDULE_DELAY=1"}
				s.write("Caddyfile", s.caddyfile(layout{msa: "tracing"}))
				s.writeUsers("")
				s.run()
				const n = 10
				for range n {
					s.mustSend(s.tlsConfig(), "alice@example.org", "alice@example.org", "bob@example.net", "From: alice@example.org\r\nSubject: x\r\n\r\nHello\r\n")
				}
				s.mail("bob@example.net", n)
				ended := make(chan struct{})
				go func() {
					s.stop()
					close(ended)
				}()
				select {
				case <-ended:
				case <-time.After(4 * patience):
					t.Fatal("the process does not end")
				}
			})
		}
	}
}
