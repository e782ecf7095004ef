package app

import (
	"slices"
	"sync/atomic"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// movingLog is the log of what outlives configurations, whose logs end with them: it is that of the one in charge.
type movingLog struct{ to atomic.Pointer[zap.Logger] }

// logger writes to wherever the log is at that moment.
func (m *movingLog) logger() *zap.Logger {
	return m.to.Load().WithOptions(zap.WrapCore(func(zapcore.Core) zapcore.Core { return &movingCore{log: m} }))
}

type movingCore struct {
	log    *movingLog
	fields []zapcore.Field
}

func (c *movingCore) now() zapcore.Core {
	core := c.log.to.Load().Core()
	if len(c.fields) > 0 {
		core = core.With(c.fields)
	}
	return core
}

// Enabled implements zapcore.Core.
func (c *movingCore) Enabled(level zapcore.Level) bool { return c.log.to.Load().Core().Enabled(level) }

// With implements zapcore.Core.
func (c *movingCore) With(fields []zapcore.Field) zapcore.Core {
	return &movingCore{c.log, append(slices.Clip(c.fields), fields...)}
}

// Check implements zapcore.Core. The core itself decides, and writes.
func (c *movingCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	return c.now().Check(e, ce)
}

// Write implements zapcore.Core.
func (c *movingCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	return c.now().Write(e, fields)
}

// Sync implements zapcore.Core.
func (c *movingCore) Sync() error { return c.log.to.Load().Core().Sync() }
