//go:build race

package spoolfile

// Under the race detector pebble checks itself at length: a state takes 50 ms.
const powerStates = 200

// damages are how many TestDamage does after each kind of stop.
const damages = 60
