package adminapi

import (
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
)

// HistoryPage is a page of what became of messages, the latest first.
type HistoryPage struct {
	Facts []HistoryFact `json:"facts"`
	// Next is where the next page begins: the before of its request. Empty: this is the last.
	Next string `json:"next,omitempty"`
}

// HistoryFact is a fact of a journal.
type HistoryFact struct {
	journal.Fact
	Spool string `json:"spool,omitempty"` // that a former configuration left; "" is the one in use
}

// Journals is what GET /msa/journal/stat answers.
type Journals struct {
	Off      bool          `json:"off,omitempty"` // nothing new is kept
	Keep     time.Duration `json:"keep"`          // nanoseconds
	MaxSize  int64         `json:"max_size"`
	Journals []Journal     `json:"journals"`
}

// Journal is how much the journal of a spool keeps.
type Journal struct {
	Spool  string `json:"spool"`
	Former bool   `json:"former,omitempty"` // a former configuration left it
	None   bool   `json:"none,omitempty"`   // this spool keeps no journal
	journal.Stat
}

// JournalPurge is what POST /msa/journal-actions/purge takes.
type JournalPurge struct {
	// Address is taken out wherever it is in a fact. A user's name is one too.
	Address string `json:"address"`
}

// JournalPurged is its answer.
type JournalPurged struct {
	Facts int `json:"facts"` // that were changed
}
