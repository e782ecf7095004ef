package spoolfile

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/durable"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// What is damaged is set aside, never deleted:
//
//	damaged/<time>/report.json   what was found, see asideReport
//	damaged/<time>/store/        the store as it was
//	damaged/<time>/bodies/       files of which no envelope is known
const (
	asideDir   = "damaged"
	reportFile = "report.json"
)

// asideReport is what is known of damage that was set aside.
type asideReport struct {
	Time  time.Time         `json:"time"`
	Cause string            `json:"cause"`
	Parts []string          `json:"parts,omitempty"` // files, and where in them
	Lost  map[string]string `json:"lost,omitempty"`  // messages that are not whole, and why
	Held  map[string]string `json:"held,omitempty"`
}

// damage is what is known of it while the spool is open.
type damage struct {
	mu       sync.Mutex
	messages map[string]string // those in the spool that cannot be read, and why
	aside    map[string]*asideReport
}

// Damaged implements queue.DamageCounter.
func (s *Store) Damaged() int {
	s.damage.mu.Lock()
	defer s.damage.mu.Unlock()
	names, err := s.fs.List(s.path(asideDir))
	if err != nil {
		names = nil // there is none
	}
	n := len(s.damage.messages)
	for name, r := range s.damage.aside {
		if slices.Contains(names, name) {
			for id := range r.Lost {
				if _, twice := s.damage.messages[id]; !twice {
					n++
				}
			}
		}
	}
	return n
}

func (s *Store) remedy() zap.Field { return zap.String("remedy", "caddy msa spool salvage "+s.dir) }

// spoil marks a message that cannot be read: it waits for the operator, and stops nobody else.
func (s *Store) spoil(e *entry, err error) {
	s.schedule.mark(e, entryBroken, true)
	e.set(entryProven, false)
	s.damage.mu.Lock()
	if s.damage.messages == nil {
		s.damage.messages = make(map[string]string)
	}
	s.damage.messages[e.id] = firstLine(err)
	s.damage.mu.Unlock()
	s.log.Error("a message in the spool is damaged; it is not delivered", zap.String("queue_id", e.id), zap.Error(err), s.remedy())
}

// problem says what is the matter with a message; empty: nothing that is known.
func (s *Store) problem(id string) string {
	s.damage.mu.Lock()
	defer s.damage.mu.Unlock()
	return s.damage.messages[id]
}

// cured forgets what was the matter with a message that is gone, or is to be tried again.
func (s *Store) cured(e *entry) {
	s.damage.mu.Lock()
	defer s.damage.mu.Unlock()
	if s.damage.messages[e.id] != "" {
		delete(s.damage.messages, e.id)
		e.set(entryProven, false)
	}
}

// isDamage tells whether the store cannot be opened, or read, because of what is in it; what a restart,
// room or another owner of the files would mend is not.
func isDamage(err error) bool {
	var other *engineError
	return err != nil && !environment(err) && !errors.As(err, &other) && !errors.Is(err, queue.ErrClosed) && !errors.Is(err, errFenced)
}

// isCorrupt tells whether pebble says that it met damage.
func isCorrupt(err error) bool { return pebble.IsCorruptionError(err) }

// engineError is what concerns the opening itself, not what is opened.
type engineError struct{ error }

func (e *engineError) Unwrap() error { return e.error }

// environment tells whether an error is one of the machine or of the operator's, and not of what is stored.
func environment(err error) bool {
	if err == nil {
		return false
	}
	if isFull(err) || errors.Is(err, fs.ErrPermission) {
		return true
	}
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EROFS, syscall.EBUSY, syscall.EINTR} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// firstLine is an error without the details that pebble adds.
func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

// explain adds the remedy to an error of the machine's.
func explain(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w; the spool's directories and files must belong to the user that Caddy runs as: chown -R that user, once for all of it", err)
	}
	return full(err)
}

// setAside makes a directory for what is damaged, with a report.
func (s *Store) setAside(r *asideReport) (string, error) {
	if err := s.makeDir(s.path(asideDir)); err != nil {
		return "", err
	}
	name := r.Time.Format("20060102T150405.000000000Z")
	dir := s.fs.PathJoin(s.path(asideDir), name)
	if err := s.makeDir(dir); err != nil {
		return "", err
	}
	s.know(name, r)
	return dir, s.report(dir, r)
}

func (s *Store) report(dir string, r *asideReport) error {
	b, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	return writeFile(s.fs, s.fs.PathJoin(dir, reportFile), b)
}

func (s *Store) know(name string, r *asideReport) {
	s.damage.mu.Lock()
	defer s.damage.mu.Unlock()
	if s.damage.aside == nil {
		s.damage.aside = make(map[string]*asideReport)
	}
	s.damage.aside[name] = r
}

// readAside reads the reports of what was set aside earlier, and was not removed since.
func (s *Store) readAside() {
	names, err := s.fs.List(s.path(asideDir))
	if err != nil {
		return // there is none
	}
	for _, name := range names {
		r := new(asideReport)
		b, err := readFile(s.fs, s.fs.PathJoin(s.path(asideDir), name, reportFile))
		if err == nil {
			err = json.Unmarshal(b, r)
		}
		if err != nil {
			r.Cause = "the report cannot be read: " + err.Error()
		}
		s.know(name, r)
		s.aside = s.fs.PathJoin(s.path(asideDir), name) // bodies without an envelope may be what is missing there
	}
	if len(names) > 0 {
		s.log.Warn("damage that was set aside earlier is still there", zap.String("directory", s.path(asideDir)), zap.Int("messages", s.Damaged()), s.remedy())
	}
}

// moveAside takes away what stands where something else belongs, such as a file in a directory's place.
func (s *Store) moveAside(name string, cause error) error {
	dir, err := s.setAside(&asideReport{Time: time.Now().UTC(), Cause: cause.Error(), Parts: []string{s.fs.PathBase(name)}})
	if err != nil {
		return err
	}
	s.log.Error("damage in the spool: it was set aside", zap.String("file", name), zap.String("aside", dir), zap.Error(cause), s.remedy())
	s.aside = dir
	return s.fs.Rename(name, s.fs.PathJoin(dir, s.fs.PathBase(name)))
}

// announce names what a damaged store's messages have come to.
func (s *Store) announce(r *asideReport, dir string) {
	for _, p := range r.Parts {
		s.log.Error("damage in the spool", zap.String("part", p), zap.String("aside", dir))
	}
	for _, id := range slices.Sorted(maps.Keys(r.Lost)) {
		s.log.Error("a message of the spool is damaged; it is not delivered", zap.String("queue_id", id), zap.String("problem", r.Lost[id]), zap.String("aside", dir), s.remedy())
	}
	for _, id := range slices.Sorted(maps.Keys(r.Held)) {
		s.log.Error("a message of the spool is held for the operator", zap.String("queue_id", id), zap.String("problem", r.Held[id]), zap.String("aside", dir))
	}
	s.log.Error("damage in the spool was set aside, and what can be read is served; a message whose delivery was recorded in what is damaged may be delivered again",
		zap.String("aside", dir), zap.Int("lost", len(r.Lost)), zap.Int("held", len(r.Held)), s.remedy())
}

// removeOrphan removes a body's file of which nothing is known; or sets it aside, if there is damage.
func (s *Store) removeOrphan(n uint64) {
	if s.aside == "" {
		s.removeBody(n)
		return
	}
	name := s.fs.PathBase(s.bodyFile(n))
	dir := s.fs.PathJoin(s.aside, "bodies")
	err := s.makeDir(dir)
	if err == nil {
		err = s.fs.Rename(s.bodyFile(n), s.fs.PathJoin(dir, name))
	}
	if err != nil {
		s.log.Error("a message's octets cannot be set aside", zap.String("file", s.bodyFile(n)), zap.Error(err))
		return
	}
	s.log.Error("a message's octets were set aside: no envelope is known of them; it may never have been accepted",
		zap.String("file", s.fs.PathJoin(dir, name)), s.remedy())
}

func writeFile(fs vfs.FS, name string, b []byte) error {
	f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return durable.SyncDir(fs.OpenDir, fs.PathDir(name))
}

// notThere tells whether a file is missing.
func notThere(err error) bool { return errors.Is(err, os.ErrNotExist) }
