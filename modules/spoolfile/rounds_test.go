package spoolfile

import "github.com/caddy-msa/caddy-msa/caddymsa/msatest/installed"

const (
	// powerStates is about how many states of the disk after a power loss are tried in CI.
	powerStates = 2000
	// damages are how many TestDamage does after each kind of stop there.
	damages = 1500
)

// fewPowerStates and fewDamages are the same elsewhere.
var fewPowerStates, fewDamages = 160, 40

func init() {
	if installed.Raced { // pebble checks itself at length: a state takes 50 ms
		fewPowerStates, fewDamages = 18, 5
	}
}
