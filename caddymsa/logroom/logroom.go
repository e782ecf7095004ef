// Package logroom has room for the fields of log lines that are written for each message: made anew each time, it was an
// eighth of what a message allocates.
package logroom

import (
	"sync"

	"go.uber.org/zap/zapcore"
)

// Room is a slice of fields that is used again.
type Room struct{ Fields []zapcore.Field }

const most = 32

var rooms = sync.Pool{New: func() any { return &Room{make([]zapcore.Field, 0, most)} }}

// Take returns room whose Fields are empty.
func Take() *Room { return rooms.Get().(*Room) }

// Write writes a line with fields that were appended to the room's, and gives the room back: a core encodes fields, or copies
// them, before it returns.
func (r *Room) Write(line *zapcore.CheckedEntry, fields []zapcore.Field) {
	line.Write(fields...)
	clear(fields)
	if cap(fields) > most {
		return // there were more of them than usual
	}
	r.Fields = fields[:0]
	rooms.Put(r)
}
