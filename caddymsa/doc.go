// Package caddymsa is a mail submission server (RFC 6409) as a Caddy app, and the
// contracts that its modules implement.
//
// Reading order, which is one message's way: endpoint.go (the socket and its
// sessions), session.go and login.go (one client), transaction.go (one message),
// policy.go and route.go (may it, where to), store.go (the spool and its queue).
// app.go and server.go are the configuration, generation.go is what lets it
// change under open sessions.
package caddymsa
