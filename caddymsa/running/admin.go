package running

import "net/http"

// Admin answers requests of the admin API in this process, for people who come by a web site. The app is one.
type Admin interface {
	// ServeAdmin answers r, whose path begins with /msa/. An error is a caddy.APIError where it has a status of its own.
	ServeAdmin(w http.ResponseWriter, r *http.Request, as Operator) error
}

// Operator is whoever asks, as far as the web site knows.
type Operator struct {
	// Name is for the log and the journal.
	Name string
	// Content lets the operator read messages, whatever the queue's show_content says.
	Content bool
}
