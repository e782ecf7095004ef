package spoolfile

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2"

	"github.com/caddy-msa/caddy-msa/caddymsa/durable"
)

// stateFile says how the spool was left. It is not there while it is being opened.
const stateFile = "state"

// leftAs is what the state file says.
type leftAs struct {
	Open   bool             `json:"open,omitempty"`   // it was in use
	Closed map[string]int64 `json:"closed,omitempty"` // what a clean stop left in the store, with sizes
}

// takeState reads how the spool was left, and forgets it: the next stop may be another one.
func (s *Store) takeState() (left leftAs, err error) {
	b, err := readFile(s.fs, s.path(stateFile))
	if notThere(err) {
		return left, nil
	}
	if environment(err) {
		return left, err
	}
	if errors.Is(err, errDirectory) {
		return left, s.moveAside(s.path(stateFile), err)
	}
	if err != nil || json.Unmarshal(b, &left) != nil {
		left = leftAs{}
	}
	if names, err := s.fs.List(s.path("store")); err == nil {
		for _, name := range names {
			if _, known := left.Closed[name]; holdsMessages(name) && !known {
				left.Closed = nil // a version that knows nothing of this file has used the spool since
				break
			}
		}
	}
	return left, errors.Join(s.fs.Remove(s.path(stateFile)), durable.SyncDir(s.fs.OpenDir, s.dir))
}

// holdsMessages tells whether a file of the store has messages in it, or says which others have.
func holdsMessages(name string) bool {
	return strings.HasSuffix(name, ".sst") || strings.HasSuffix(name, ".log") || strings.HasPrefix(name, "MANIFEST-")
}

// leaveState writes how the spool is left.
func (s *Store) leaveState(left leftAs) error {
	b, err := json.Marshal(left)
	if err != nil {
		return err
	}
	return writeFile(s.fs, s.path(stateFile), b)
}

// leaveClean notes that all is in the tables, which is so when nothing has failed.
func (s *Store) leaveClean() error {
	names, err := s.fs.List(s.path("store"))
	if err != nil {
		return err
	}
	closed := make(map[string]int64)
	for _, name := range names {
		if info, err := s.fs.Stat(s.fs.PathJoin(s.path("store"), name)); err == nil && holdsMessages(name) {
			closed[name] = info.Size()
		}
	}
	return s.leaveState(leftAs{Closed: closed})
}

// behindError says that the manifest knows nothing of tables that hold messages.
type behindError struct{ table string }

func (b *behindError) Error() string { return "the manifest knows nothing of " + b.table }

// inspect looks for damage of which pebble says nothing.
func (s *Store) inspect(left leftAs) error {
	closed := left.Closed
	dir := s.path("store")
	names, err := s.fs.List(dir)
	if err != nil {
		return err
	}
	stored, used := false, left.Open || left.Closed != nil
	version := ""
	for _, name := range names {
		stored = stored || strings.HasSuffix(name, ".sst") || strings.HasSuffix(name, ".log")
		if strings.HasPrefix(name, "marker.format-version.") {
			version = max(version, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(closed)) {
		info, err := s.fs.Stat(s.fs.PathJoin(dir, name))
		if err == nil && (info.IsDir() || info.Size() != closed[name]) {
			err = fmt.Errorf("%s has %d octets and not %d", name, info.Size(), closed[name])
		}
		if err != nil {
			return err
		}
	}
	if !stored {
		return nil // a new one
	}
	for _, name := range names {
		used = used || strings.HasSuffix(name, ".sst")
	}
	if version == "" && used {
		return errors.New("the marker of the format is missing")
	}
	if !used && version == "" {
		return nil // it was being made
	}
	if n, err := strconv.Atoi(version[strings.LastIndexByte(version, '.')+1:]); err == nil && n > int(pebble.FormatNewest) {
		return &engineError{fmt.Errorf("it was written by a newer version of this program (format %d, and this one knows %d)", n, pebble.FormatNewest)}
	}
	manifest, err := readManifest(s.fs, dir, names)
	if err != nil || closed != nil {
		return err
	}
	return s.inspectUnclean(names, readNumbers(manifest), left.Open)
}

// inspectUnclean looks at the logs after a stop that was not clean, and for tables of which the manifest knows nothing.
func (s *Store) inspectUnclean(names []string, known numbers, open bool) error {
	c := &collection{fs: s.fs, dir: s.path("store")}
	var tables []string
	for _, name := range names {
		if n, ok := fileNumber(name, ".log"); ok && n >= known.log {
			c.logs = append(c.logs, name)
		} else if n, ok := fileNumber(name, ".sst"); ok && n >= known.next {
			tables = append(tables, name)
		}
	}
	slices.Sort(c.logs)
	var next uint64
	for i, name := range c.logs {
		records, gaps, _, err := c.scanLog(i)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if len(gaps) > 0 {
			return fmt.Errorf("%s is damaged at octet %d", name, gaps[0].broken)
		}
		for _, r := range records {
			if r.mended {
				return fmt.Errorf("%s: a bit is damaged between %d and %d", name, r.offset, r.end)
			}
			first, after, _ := readBatch(r.octets, func(uint64, byte, []byte, []byte) {})
			if next != 0 && first > next {
				return fmt.Errorf("%s: %d changes before it are missing", name, first-next)
			}
			next = after
		}
	}
	if open && len(c.logs) == 0 {
		return errors.New("the log is missing")
	}
	if _, ok := c.listed(names); !ok {
		return nil // it does not open: that is seen next
	}
	tables = slices.DeleteFunc(tables, func(name string) bool {
		return slices.ContainsFunc(c.tables, func(t tableFile) bool { return t.name == name })
	})
	if len(tables) == 0 {
		return nil
	}
	// They were being written when the process ended, from what is still there. Or the manifest has lost its end.
	c, err := collect(s.fs, c.dir, nil, false)
	if err != nil {
		return err
	}
	for _, name := range tables {
		unknown := false
		if _, err := readTable(s.fs, s.fs.PathJoin(c.dir, name), func(_ uint64, kind byte, key, _ []byte) {
			_, known := c.heads[string(key)]
			unknown = unknown || kind == kindSet && !known && len(key) > 0 && key[0] == envelopePrefix
		}); err != nil {
			return err
		}
		if unknown {
			return &behindError{name}
		}
	}
	return nil
}
