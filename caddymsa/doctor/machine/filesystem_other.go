//go:build !linux

package machine

// fileSystem is the kind that a directory is on, which is not known.
func fileSystem(string) string { return "" }
