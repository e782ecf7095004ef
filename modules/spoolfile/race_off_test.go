//go:build !race

package spoolfile

// powerStates is about how many states of the disk after a power loss are tried.
const powerStates = 2000

// damages are how many TestDamage does after each kind of stop.
const damages = 1500
