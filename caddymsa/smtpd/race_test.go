//go:build race

package smtpd

// The race detector empties pools at random.
func init() { poolsLeak = true }
