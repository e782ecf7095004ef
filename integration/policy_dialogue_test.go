package integration

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
)

// TestPolicyDialogues replays what clients see of each policy and of routes' options. The lines of a
// file that begin with "#!" are what the msa block holds for it; it is played on the port
// with implicit TLS.
func TestPolicyDialogues(t *testing.T) {
	t.Parallel()
	s := start(t, layout{})
	config := s.tlsConfig()
	files, err := filepath.Glob("dialogue/[pr]o*/*.smtp")
	if err != nil || len(files) == 0 {
		t.Fatal("no dialogues", err)
	}
	var dialogues []played
	for _, file := range files {
		dialogues = append(dialogues, played{strings.TrimSuffix(strings.TrimPrefix(file, "dialogue/"), ".smtp"), time.Now()})
		t.Run(strings.TrimSuffix(filepath.Base(file), ".smtp"), func(t *testing.T) {
			script, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var lines []string
			for line := range strings.Lines(string(script)) {
				if setting, ok := strings.CutPrefix(line, "#!"); ok {
					lines = append(lines, strings.TrimRight(setting, "\r\n"))
				}
			}
			msa := strings.Join(lines, "\n\t")
			if !strings.Contains(msa, "limits {") {
				msa = "limits {\n\t\tconnections_per_ip 1000\n\t}\n\t" + msa
			}
			if status, body := s.load(s.caddyfile(layout{msa: msa})); status != http.StatusOK {
				t.Fatalf("%d %s", status, body)
			}
			msatest.Dialogue(t, file, s.implicit, config)
		})
	}
	waits := make(map[string]bool)
	await(t, "an empty queue, but for what is held", func() bool {
		clear(waits)
		_, body := s.adminRequest("GET", "/msa/queue", "")
		var page adminapi.QueuePage
		if err := json.Unmarshal([]byte(body), &page); err != nil {
			t.Fatal(err, body)
		}
		for _, e := range page.Entries {
			waits[e.ID] = true
		}
		return !slices.ContainsFunc(page.Entries, func(e *adminapi.Entry) bool { return e.Held == "" })
	})
	s.stop()
	facts := readJournal(t, filepath.Join(s.dir, "spool"))
	checkFates(t, facts, func(id string) bool { return waits[id] })
	goldenFacts(t, s.dir, facts, dialogues)
}
