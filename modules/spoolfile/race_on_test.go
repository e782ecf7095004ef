//go:build race

package spoolfile

// Under the race detector pebble checks itself at length: a state takes 50 ms.
const powerStates, fewPowerStates = 200, 18

// damages are how many TestDamage does after each kind of stop.
const damages, fewDamages = 60, 5
