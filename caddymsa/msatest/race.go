//go:build race

package msatest

const raceEnabled = true
