//go:build race

package installed

// Raced tells whether the race detector looks at these tests.
const Raced = true
