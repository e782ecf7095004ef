//go:build !unix

package machine

// CurrentLimits are this process's, which are not known.
func CurrentLimits() Limits { return Limits{} }
