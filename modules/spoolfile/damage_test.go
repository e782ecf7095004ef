package spoolfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/installed"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// known is what a spool that is about to be damaged holds.
type known struct {
	messages map[string]string // id to jobs and status
	bodies   map[string][]byte
	gone     []string
	// journalFirst: damage of the journal is met before a new message is given, and not while it is being committed.
	journalFirst bool
}

// template makes a spool with messages of many lanes in many states. The file system that is returned
// is as a kill leaves it, or a clean stop.
func template(t *testing.T, clean bool) (*vfs.MemFS, *known) {
	t.Helper()
	fs := vfs.NewMem()
	rnd := rand.New(rand.NewPCG(17, 10))
	k := &known{messages: map[string]string{}, bodies: map[string][]byte{}}
	for round := range 2 {
		s, err := Open("/spool", testOptions(newFaulty(fs)))
		if err != nil {
			t.Fatal(err)
		}
		for i := range 50 {
			k.add(t, s, rnd, i)
		}
		k.messages = map[string]string{}
		if err := s.List(background, "", func(m *queue.EntryView) bool { k.messages[m.Entry.ID] = stateOf(m); return true }); err != nil {
			t.Fatal(err)
		}
		if round == 1 && !clean {
			after := vfs.NewMem()
			if ok, err := vfs.Clone(fs, after, "/spool", "/spool"); !ok || err != nil {
				t.Fatal(ok, err)
			}
			fs = after
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for id := range k.bodies {
		if k.messages[id] == "" {
			k.gone = append(k.gone, id)
		}
	}
	return fs, k
}

func stateOf(m *queue.EntryView) string {
	for i := range m.Jobs {
		m.Jobs[i].Leased = false
	}
	b, _ := json.Marshal(m.Jobs)
	c, _ := json.Marshal(m.Status)
	return string(b) + string(c)
}

func (k *known) add(t *testing.T, s *Store, rnd *rand.Rand, i int) {
	t.Helper()
	id := make([]byte, 13)
	for n := range id {
		id[n] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"[rnd.IntN(32)]
	}
	d, err := s.Create(background)
	if err != nil {
		t.Fatal(err)
	}
	body := bytes.Repeat([]byte(fmt.Sprintf("%s says %d\r\n", id, rnd.Uint64())), 1+rnd.IntN(200))
	if _, err := d.Write(body); err != nil {
		t.Fatal(err)
	}
	a := manyLanes(fmt.Sprintf("Q%d", i))
	a.Entry.ID = string(id)
	for n := range a.Jobs {
		a.Jobs[n].Lane = fmt.Sprintf("relay/%s%d", id, n) // its own, so that all can be leased
	}
	if i%7 == 6 {
		a.Held = "the test says so"
	}
	if err := d.Commit(background, a); err != nil {
		t.Fatal(err)
	}
	k.bodies[string(id)] = append([]byte(testHeader), body...)
	if i%3 == 0 || a.Held != "" {
		return
	}
	for range len(a.Jobs) {
		if err := workOne(s, nil, i%3 == 1); err != nil {
			t.Fatal(err)
		}
	}
}

// spoils are what may become of a file's octets.
var spoils = []struct {
	name string
	f    func(rnd *rand.Rand, b []byte) []byte // nil: the file is gone
}{
	{"bit flipped", func(rnd *rand.Rand, b []byte) []byte { b[rnd.IntN(len(b))] ^= 1 << rnd.IntN(8); return b }},
	{"octet changed", func(rnd *rand.Rand, b []byte) []byte { b[rnd.IntN(len(b))] ^= byte(1 + rnd.IntN(255)); return b }},
	{"octets zeroed", func(rnd *rand.Rand, b []byte) []byte { clear(some(rnd, b)); return b }},
	{"octets overwritten", func(rnd *rand.Rand, b []byte) []byte { copy(some(rnd, b), randomOctets(rnd, len(b))); return b }},
	{"sector zeroed", func(rnd *rand.Rand, b []byte) []byte {
		at := rnd.IntN(len(b)) / 512 * 512
		clear(b[at:min(at+512, len(b))])
		return b
	}},
	{"truncated", func(rnd *rand.Rand, b []byte) []byte { return b[:rnd.IntN(len(b))] }},
	{"emptied", func(*rand.Rand, []byte) []byte { return []byte{} }},
	{"garbage appended", func(rnd *rand.Rand, b []byte) []byte { return append(b, randomOctets(rnd, 1+rnd.IntN(4096))...) }},
	{"octets twice", func(rnd *rand.Rand, b []byte) []byte {
		at := rnd.IntN(len(b))
		return append(append(bytes.Clone(b[:at]), some(rnd, b)...), b[at:]...)
	}},
	{"removed", func(*rand.Rand, []byte) []byte { return nil }},
}

func some(rnd *rand.Rand, b []byte) []byte {
	at := rnd.IntN(len(b))
	return b[at : at+min(len(b)-at, 1+rnd.IntN(1<<rnd.IntN(14)))]
}

// spoilFile does one thing to one file, and says to which, and what.
func spoilFile(t *testing.T, fs *vfs.MemFS, rnd *rand.Rand) (name, what string) {
	t.Helper()
	var files []string
	for _, dir := range []string{"/spool", "/spool/store", "/spool/bodies"} {
		names, err := fs.List(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if info, err := fs.Stat(path.Join(dir, name)); err == nil && !info.IsDir() {
				files = append(files, path.Join(dir, name))
				for dir == "/spool/store" && info.Size() > 1000 && len(files)%20 != 0 { // where most is
					files = append(files, path.Join(dir, name))
				}
			}
		}
	}
	name = files[rnd.IntN(len(files))]
	b, err := readFile(fs, name)
	if err != nil {
		t.Fatal(err)
	}
	how := spoils[rnd.IntN(len(spoils))]
	for len(b) == 0 && how.name != "removed" && how.name != "garbage appended" {
		how = spoils[rnd.IntN(len(spoils))]
	}
	after := how.f(rnd, bytes.Clone(b))
	if err := fs.Remove(name); err != nil {
		t.Fatal(err)
	}
	if after != nil {
		if err := writeFile(fs, name, after); err != nil {
			t.Fatal(err)
		}
	}
	return name, how.name
}

// aftermath is what came of damage.
type aftermath struct {
	served, held, lost, twice, silent, unnamed int
	said                                       string
	wrong                                      []string
}

func (a *aftermath) err(format string, args ...any) {
	a.wrong = append(a.wrong, fmt.Sprintf(format, args...))
}

// lookAt opens the spool, and says what is wrong with what it serves.
func lookAt(fs vfs.FS, k *known, last func(s *Store)) (a aftermath) {
	core, logged := observer.New(zapcore.ErrorLevel)
	o := testOptions(fs)
	o.Log, o.Retry = zap.New(core), time.Millisecond
	s, err := Open("/spool", o)
	if err != nil {
		a.err("it does not open: %v", err)
		return a
	}
	defer s.Close()
	leased := make(map[string]int)
	deadline := time.Now().Add(time.Minute)
	for {
		eng, _ := s.engine()
		l, _, err := s.Lease(background, noon, queue.Want{})
		if errors.Is(err, queue.ErrNoneDue) {
			break
		}
		if isDown(err) && time.Now().Before(deadline) { // it could not be opened again at the first attempt
			time.Sleep(time.Millisecond)
			continue
		}
		if err != nil {
			a.err("lease: %v", err)
			return a
		}
		id := l.Entry().ID
		r, err := l.Open(background)
		if now, _ := s.engine(); err != nil && now != eng { // rewriting the tables met damage, and this is of it
			l.Release()
			continue
		}
		if err != nil {
			a.err("%s is leased and cannot be read: %v", id, err)
			return a
		}
		got, err := io.ReadAll(r)
		r.Close()
		if err == nil && !bytes.Equal(got, k.bodies[id]) {
			a.err("%s is served and not what it was: %d octets of %d: %.60q, %.60q", id, len(got), len(k.bodies[id]), got, k.bodies[id])
		}
		if err == nil {
			leased[id]++
		}
	}
	if k.journalFirst {
		if err := s.Facts(background, new(journal.Query), func(*journal.Fact) bool { return true }); err != nil {
			a.err("journal: %v", err)
		}
	}
	found := make(map[string]*queue.EntryView)
	if err := s.List(background, "", func(m *queue.EntryView) bool { found[m.Entry.ID] = m; return true }); err != nil {
		a.err("list: %v", err)
		return a
	}
	var said strings.Builder
	for _, e := range logged.All() {
		fmt.Fprintln(&said, e.Message, e.ContextMap())
	}
	a.said = said.String()
	for _, id := range k.gone {
		if leased[id] > 0 {
			a.twice++
		}
	}
	for id, state := range k.messages {
		m := found[id]
		named := strings.Contains(a.said, id)
		switch {
		case m != nil && stateOf(m) == state && (leased[id] > 0 || strings.Contains(state, "the test says so")):
			a.served++
		case m != nil && m.Status.Held != "":
			if a.held++; !named {
				a.err("%s is held, and not named", id)
			}
		case m != nil && leased[id] > 0: // it is as it was some time before
			if a.served++; a.said == "" {
				a.silent++
			}
		case m != nil:
			a.err("%s is there, not held and not served: %s", id, stateOf(m))
		default:
			a.lost++
			switch {
			case a.said == "":
				a.silent++
			case !named:
				a.unnamed++
			}
		}
	}
	if last != nil {
		last(s)
	}
	return a
}

// Whatever becomes of one file of the spool: it opens, serves what is whole, names what is not, takes new
// messages, and opens again with nothing new to say.
func TestDamage(t *testing.T) {
	t.Parallel()
	rounds := installed.Rounds(damages, fewDamages)
	for _, clean := range []bool{true, false} {
		t.Run(fmt.Sprintf("clean %t", clean), func(t *testing.T) {
			from, k := template(t, clean)
			newest := newestLog(t, from)
			sum := make(map[string]*aftermath)
			damaged := 0
			for seed := range rounds {
				if one := os.Getenv("DAMAGE_SEED"); one != "" && !slices.Contains(strings.Split(one, ","), fmt.Sprint(seed)) {
					continue
				}
				fs := vfs.NewCrashableMem()
				if ok, err := vfs.Clone(from, fs, "/spool", "/spool"); !ok || err != nil {
					t.Fatal(ok, err)
				}
				name, what := spoilFile(t, fs, rand.New(rand.NewPCG(uint64(seed), 1)))
				k.journalFirst = seed%2 == 0
				a := afterDamage(t, newFaulty(fs), k)
				torn := !clean && name == newest && what != "bit flipped" && what != "octet changed" // cannot be told from a crash
				if a.silent > 0 && !torn {
					a.err("%d messages are gone without a word", a.silent)
				}
				if a.twice > 0 && a.said == "" {
					a.err("%d messages come back without a word", a.twice)
				}
				for _, w := range a.wrong {
					t.Errorf("seed %d: %s: %s: %s\n%s", seed, name, what, w, a.said)
				}
				key := strings.TrimLeft(path.Ext("x"+path.Base(name)), ".")
				if strings.Contains(name, "MANIFEST") || !strings.Contains(path.Base(name), ".") || strings.Contains(name, "marker") {
					key = strings.TrimRight(strings.SplitN(path.Base(name), ".", 2)[0], "-0123456789")
				}
				all := sum[key+": "+what]
				if all == nil {
					all = new(aftermath)
					sum[key+": "+what] = all
				}
				all.served, all.held, all.lost, all.twice, all.silent, all.unnamed = all.served+a.served, all.held+a.held, all.lost+a.lost, all.twice+a.twice, all.silent+a.silent, all.unnamed+a.unnamed
				if a.said != "" {
					damaged++
				}
			}
			t.Logf("%d messages wait, %d were delivered; %d damages, of which %d were noticed", len(k.messages), len(k.gone), rounds, damaged)
			for _, key := range slices.Sorted(maps.Keys(sum)) {
				a := sum[key]
				t.Logf("%-32s served %6d held %4d lost %4d (named %d, not %d, silently %d), delivered again %d", key, a.served, a.held, a.lost, a.lost-a.unnamed-a.silent, a.unnamed, a.silent, a.twice)
			}
		})
	}
}

func newestLog(t *testing.T, fs vfs.FS) (newest string) {
	names, err := fs.List("/spool/store")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, ".log") && name > newest {
			newest = name
		}
	}
	return "/spool/store/" + newest
}

// afterDamage opens the spool, gives it a message, and opens it again, as a crash left it.
func afterDamage(t *testing.T, fs *faulty, k *known) aftermath {
	var crashed *vfs.MemFS
	body := []byte("new\r\n")
	a := lookAt(fs, k, func(s *Store) {
		err := give(s, body)
		for isDown(err) && !k.journalFirst { // damage was met meanwhile: it was refused, and may be tried again
			untilRevived(s)
			err = give(s, body)
		}
		if err != nil {
			t.Errorf("a new message: %v", err)
		}
		crashed = fs.FS.(*vfs.MemFS).CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))})
	})
	if len(a.wrong) > 0 {
		return a
	}
	after := &known{messages: k.messages, bodies: maps.Clone(k.bodies), gone: k.gone, journalFirst: k.journalFirst}
	after.bodies["NEW"] = append([]byte(testHeader), body...)
	for _, again := range []vfs.FS{newFaulty(crashed), fs} {
		had := asides(again)
		b := lookAt(again, after, func(s *Store) {
			if _, err := s.Get(background, "NEW"); err != nil {
				a.err("the new message: %v", err)
			}
		})
		for _, w := range b.wrong {
			if !strings.Contains(w, "not named") { // it was
				a.err("opened again: %s", w)
			}
		}
		if b.served != a.served || b.held != a.held {
			a.err("opened again: %d served and %d held, and %d and %d before; %s", b.served, b.held, a.served, a.held, b.said)
		}
		if now := asides(again); now != had && (k.journalFirst || now > 1) { // or it is met only now
			a.err("opened again: there is new damage: %s", b.said)
		}
	}
	return a
}

func give(s *Store, body []byte) error {
	d, err := s.Create(background)
	if err != nil {
		return err
	}
	defer d.Abort()
	if _, err := d.Write(body); err != nil {
		return err
	}
	return d.Commit(background, testAccept("NEW"))
}

func asides(fs vfs.FS) int {
	names, _ := fs.List("/spool/" + asideDir)
	return len(names)
}
