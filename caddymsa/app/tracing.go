package app

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.opentelemetry.io/contrib/exporters/autoexport"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/running"
)

// Tracing has spans made of each message's way, and sent to where OpenTelemetry's environment variables say: OTEL_EXPORTER_OTLP_ENDPOINT,
// OTEL_TRACES_EXPORTER, OTEL_TRACES_SAMPLER, OTEL_SERVICE_NAME and the others. It has no settings of its own.
type Tracing struct{}

const (
	tracerName = "github.com/caddy-msa/caddy-msa"
	// shutdownTime is for how long the end of the process waits for spans to be sent.
	shutdownTime = 3 * time.Second
	// complainEvery is how often the log is told that spans cannot be sent.
	complainEvery = time.Minute
)

// providers has the one of this process while any configuration traces: Caddy's own is its HTTP tracing's alone.
var providers = caddy.NewUsagePool()

const providerKey = "otel"

// provider makes and sends spans.
type provider struct {
	trace.TracerProvider
	shutdown func(context.Context) error
}

// Destruct sends what is left.
func (p *provider) Destruct() error {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTime)
	defer cancel()
	return p.shutdown(ctx)
}

// openProvider is what the environment says.
func openProvider(log *zap.Logger) (*provider, error) {
	if strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true") {
		return &provider{noop.NewTracerProvider(), func(context.Context) error { return nil }}, nil
	}
	ctx := context.Background()
	exporter, err := autoexport.NewSpanExporter(ctx)
	if err != nil {
		return nil, fmt.Errorf("OTEL_TRACES_EXPORTER is %q and OTEL_EXPORTER_OTLP_PROTOCOL %q: %w; see docs/tracing.md", os.Getenv("OTEL_TRACES_EXPORTER"), os.Getenv("OTEL_EXPORTER_OTLP_PROTOCOL"), err)
	}
	what, err := resource.New(ctx, resource.WithSchemaURL(""), resource.WithTelemetrySDK(), resource.WithHost(), resource.WithAttributes(serviceName), resource.WithFromEnv())
	if err != nil {
		log.Warn("tracing: not all is known of where this runs", zap.Error(err))
	}
	var next atomic.Int64
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		if now, at := time.Now(), next.Load(); now.UnixNano() >= at && next.CompareAndSwap(at, now.Add(complainEvery).UnixNano()) {
			to := log
			if app, ok := running.App[*App](); ok { // the provider outlives the configuration that has opened it
				to = app.log.Named("tracing")
			}
			to.Warn("tracing: spans are not sent", zap.Error(err))
		}
	}))
	p := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(what))
	return &provider{p, p.Shutdown}, nil
}

// startTracing opens the provider, or joins the one that is open.
func (app *App) startTracing() error {
	if app.Tracing == nil {
		return nil
	}
	v, _, err := providers.LoadOrNew(providerKey, func() (caddy.Destructor, error) { return openProvider(app.log.Named("tracing")) })
	if err != nil {
		return err
	}
	app.tracer = v.(*provider).Tracer(tracerName)
	return nil
}

// stopTracing gives the provider back. It is safe to call again. The tracer goes on working for attempts that are still
// under way; once nobody has the provider its spans are nobody's.
func (app *App) stopTracing() {
	if app.tracer != nil {
		app.stoppedTracing.Do(func() { _, _ = providers.Delete(providerKey) })
	}
}
