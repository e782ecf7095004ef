//go:build race

package spoolfile

// Under the race detector pebble checks itself at length: a state takes 50 ms.
const powerStates = 200
