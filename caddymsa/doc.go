// Package caddymsa has the contracts between the mail submission server and its modules:
// what a module implements, and what it is handed.
//
//   - auth.go: backends in the namespace msa.auth, and the identity that they prove
//   - matcher.go, policy.go, refusal.go, onfailure.go: msa.matchers and msa.policies
//   - submission.go: the envelope and the message that policies look at
//   - addressmap.go, sink.go: msa.address_maps and msa.sinks (package queue has the sink itself)
//   - spool.go: msa.spools (package queue has the spool itself)
//   - notifier.go: msa.notifiers (package notify has what they tell)
//   - decoy.go, network.go, command.go: what modules share with the app
//
// The app that loads the modules is package app, which no module imports.
package caddymsa
