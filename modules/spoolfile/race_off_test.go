//go:build !race

package spoolfile

// powerStates is about how many states of the disk after a power loss are tried, in CI and elsewhere.
const powerStates, fewPowerStates = 2000, 160

// damages are how many TestDamage does after each kind of stop.
const damages, fewDamages = 1500, 40
