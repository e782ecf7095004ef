package adminapi

// SpoolMove is the request of POST /msa/spool/move. Spools are named as in `caddy msa spool move`.
type SpoolMove struct {
	From string `json:"from"`
	To   string `json:"to"`
	// Cancel ends a move that was broken off: each message stays where it is now.
	Cancel bool `json:"cancel,omitempty"`
}

// SpoolMoved is a line of its answer. The last one has Done, or an Error that ended it.
type SpoolMoved struct {
	Messages int    `json:"messages"` // moved so far
	ID       string `json:"id,omitempty"`
	Problem  string `json:"problem,omitempty"` // why that one was not moved
	Done     bool   `json:"done,omitempty"`
	Note     string `json:"note,omitempty"` // what the operator has to know, in the last line
	Error    string `json:"error,omitempty"`
}
