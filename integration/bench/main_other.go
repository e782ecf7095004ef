//go:build !linux

// Command bench measures servers through Linux's /proc, so it is for Linux only.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "bench: for Linux only")
	os.Exit(1)
}
