package sinkmaildir

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"
	"unicode"

	"github.com/caddy-msa/caddy-msa/caddymsa/durable"
	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// go-maildir is not used here: it syncs nothing, follows links and picks names
// that differ from one attempt to the next.

var buffers = sync.Pool{New: func() any { return new([32 << 10]byte) }}

// deliver stores one copy of message in the Maildir dir below base: written and
// synced in tmp, then renamed to new and that synced, so that a reader never
// sees half a message and a power loss takes none. The name is the same in every
// attempt: one that succeeded unrecorded is written over, not repeated, as long
// as no reader moved it to cur.
func deliver(ctx context.Context, base *os.Root, dir, name string, e *queue.Entry, message io.ReadSeeker) (err error) {
	if strings.ContainsFunc(e.Sender, unicode.IsControl) {
		return queue.Permanent(errors.New("control character in the return path"))
	}
	if _, err := message.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("read message: %w", err)
	}
	root, err := openMaildir(base, dir)
	if err != nil {
		return err
	}
	defer root.Close()
	tmp := "tmp/" + name
	f, err := create(root, tmp)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		_ = f.Close() // the next attempt removes it
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close() // it may be closed already
			if durable.Owns(info, root.Lstat, tmp) == nil {
				_ = root.Remove(tmp)
			}
		}
	}()
	size, err := write(ctx, f, "Return-Path: <"+e.Sender+">\r\n", message)
	if err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := durable.Owns(info, root.Lstat, tmp); err != nil {
		return err
	}
	// Maildir++: readers need no stat to know the size.
	if err := root.Rename(tmp, fmt.Sprintf("new/%s,S=%d", name, size)); err != nil {
		return err
	}
	return durable.SyncDir(root.Open, "new")
}

// uniqueName is the same for every attempt at one mailbox of one entry, however it is spelled, and
// for nothing else.
func (m *Maildir) uniqueName(e *queue.Entry, r *queue.Recipient) string {
	mailbox := r.Complete()
	if a, err := mailaddr.Parse(mailbox, true); err == nil {
		mailbox = a.KeyCase(m.Case)
	}
	sum := sha256.Sum256([]byte(mailbox))
	return fmt.Sprintf("%d.Q%sR%s.%s", e.Accepted.Unix(), clean(e.ID), hex.EncodeToString(sum[:8]), clean(e.Server))
}

// maxPart keeps the name within the 255 octets of a file name.
const maxPart = 80

// clean replaces what may not stand in the name of a Maildir's file: "/" and
// ":", and "," which begins the size.
func clean(s string) string {
	s = s[:min(len(s), maxPart)]
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r == 0x7f || strings.ContainsRune(`/\:,`, r) {
			return '_'
		}
		return r
	}, s)
}

// create opens a new file for writing. What a crashed attempt left there goes.
func create(root *os.Root, name string) (*os.File, error) {
	const flags = os.O_WRONLY | os.O_CREATE | os.O_EXCL
	f, err := root.OpenFile(name, flags, 0o600)
	if !errors.Is(err, fs.ErrExist) {
		return f, err
	}
	if err := root.Remove(name); err != nil {
		return nil, err
	}
	return root.OpenFile(name, flags, 0o600)
}

// write copies head and message to f and returns how much that was. It ends
// early when ctx does.
func write(ctx context.Context, f io.Writer, head string, message io.Reader) (size int64, err error) {
	b := buffers.Get().(*[32 << 10]byte)
	defer buffers.Put(b)
	have := copy(b[:], head)
	for {
		if err := ctx.Err(); err != nil {
			return size, err
		}
		n, err := message.Read(b[have:])
		have += n
		if err != nil && err != io.EOF {
			return size, fmt.Errorf("read message: %w", err)
		}
		if have < len(b) && err == nil {
			continue
		}
		if _, werr := f.Write(b[:have]); werr != nil {
			return size, werr
		}
		size, have = size+int64(have), 0
		if err == io.EOF {
			return size, nil
		}
	}
}
