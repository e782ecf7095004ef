package adminapi

// SpoolCheck is a line of what GET /msa/spool/check answers. The last one has Done, or an Error that
// ended it.
type SpoolCheck struct {
	Messages int    `json:"messages"` // read so far
	Octets   int64  `json:"octets,omitempty"`
	ID       string `json:"id,omitempty"` // of a message that is not whole
	Problem  string `json:"problem,omitempty"`
	Done     bool   `json:"done,omitempty"`
	Error    string `json:"error,omitempty"`
}
