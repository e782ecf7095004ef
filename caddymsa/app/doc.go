// Package app is a mail submission server (RFC 6409) as a Caddy app.
//
// Reading order, which is one message's way: endpoint.go (the socket and its
// sessions), session.go and login.go (one client), exchange.go and ask.go (who is it),
// transaction.go (one message), policies.go with policyrun.go, and route.go (may it, where to), store.go
// (the spool and its queue) with movinglog.go (their log), observer.go and events.go (what became of it).
// visit.go is a message that comes by a web site, with once.go and lately.go (was it there before).
//
// Package gate below is what strangers meet: how many there may be, how often they may guess, and how
// much they may have logged. wrappers.go and proxyprotocol.go find out who they are.
//
// app.go and server.go are the configuration, tls.go its TLS, with certificates that are files in package
// certs below; generation.go is what lets it change under open sessions. Package directive below is how the
// Caddyfile spells it, and package places finds again where in it stands what is refused (item.go). Package admin below is
// the admin API, to which admin.go hands what it works with.
package app
