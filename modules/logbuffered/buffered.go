// Package logbuffered collects the log's lines, so that few writes take many of them.
package logbuffered

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
)

func init() {
	caddy.RegisterModule(new(Buffered))
}

const (
	defaultFlush = conf.Duration(time.Second)
	maxFlush     = conf.Duration(time.Minute) // an operator who follows the log must not take it for stuck
	bufferSize   = 256 << 10                  // some 500 lines
)

// Buffered hands lines to another log writer when it has 256 KiB of them, and at intervals. Caddy's own writers write each
// line at once. What is buffered is lost when the process is killed, and only then.
type Buffered struct {
	// Writer is where the lines go, such as a file.
	WriterRaw json.RawMessage `json:"writer,omitempty" caddy:"namespace=caddy.logging.writers inline_key=output"`

	// Flush is for how long a line may wait. Default: 1s; at most 1m.
	Flush conf.Duration `json:"flush,omitempty"`

	writer caddy.WriterOpener
}

// CaddyModule returns the Caddy module information.
func (*Buffered) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "caddy.logging.writers.buffered",
		New: func() caddy.Module { return new(Buffered) },
	}
}

// Provision loads the writer.
func (b *Buffered) Provision(ctx caddy.Context) error {
	if b.WriterRaw == nil {
		return fmt.Errorf("a log that is buffered has to be written somewhere: wrap file <path>")
	}
	if b.Flush < 0 || b.Flush > maxFlush {
		return fmt.Errorf("flush is at most %v, not %v", maxFlush, b.Flush)
	}
	if b.Flush == 0 {
		b.Flush = defaultFlush
	}
	module, err := ctx.LoadModule(b, "WriterRaw")
	if err != nil {
		return err
	}
	writer, ok := module.(caddy.WriterOpener)
	if !ok {
		return fmt.Errorf("%T is not a log writer", module)
	}
	b.writer = writer
	return nil
}

func (b *Buffered) String() string { return "buffered, " + b.writer.String() }

// WriterKey is one for each writer and interval: Caddy opens it once.
func (b *Buffered) WriterKey() string {
	return fmt.Sprintf("buffered:%v:%s", b.Flush, b.writer.WriterKey())
}

// OpenWriter opens the writer that is behind.
func (b *Buffered) OpenWriter() (io.WriteCloser, error) {
	to, err := b.writer.OpenWriter()
	if err != nil {
		return nil, err
	}
	return newWriter(to, time.Duration(b.Flush)), nil
}

// UnmarshalCaddyfile sets up the writer from Caddyfile tokens. Syntax:
//
//	output buffered {
//		wrap  <writer> ...
//		flush <duration>
//	}
func (b *Buffered) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the writer's name
	return conf.Block(d,
		conf.Func("wrap", func(d *caddyfile.Dispenser) error {
			if !d.NextArg() {
				return d.Err("wrap takes a writer, as in: wrap file /var/log/caddy/msa.log")
			}
			name := d.Val()
			if name == "stderr" || name == "stdout" { // Caddy's modules of these have no syntax
				if d.NextArg() {
					return d.Errf("wrap %s takes nothing more", name)
				}
				b.WriterRaw = json.RawMessage(`{"output":"` + name + `"}`)
				return nil
			}
			module, err := caddyfile.UnmarshalModule(d, "caddy.logging.writers."+name)
			if err != nil {
				return err
			}
			b.WriterRaw = caddyconfig.JSONModuleObject(module, "output", name, nil)
			return nil
		}),
		conf.Value("flush", &b.Flush))
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Buffered)(nil)
	_ caddy.WriterOpener    = (*Buffered)(nil)
	_ caddyfile.Unmarshaler = (*Buffered)(nil)
)
