//go:build !race

package msatest

const raceEnabled = false
