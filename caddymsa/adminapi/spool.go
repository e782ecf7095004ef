package adminapi

// SpoolCheck is a line of what GET /msa/spool/check answers. Each spool's last one has Done, or an Error
// that ended it; after the last spool's there is nothing.
type SpoolCheck struct {
	Spool    string `json:"spool,omitempty"` // that a former configuration left; "" is the one in use
	Messages int    `json:"messages"`        // read so far
	Octets   int64  `json:"octets,omitempty"`
	ID       string `json:"id,omitempty"` // of a message that is not whole
	Problem  string `json:"problem,omitempty"`
	Done     bool   `json:"done,omitempty"`
	Error    string `json:"error,omitempty"`
}
