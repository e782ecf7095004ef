//go:build !race

package spoolfile

// powerStates is about how many states of the disk after a power loss are tried.
const powerStates = 2000
