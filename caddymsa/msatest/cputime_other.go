//go:build !unix

package msatest

import "time"

var began = time.Now()

// cpuTime stands in for what the process has used so far, which is never more.
func cpuTime() time.Duration { return time.Since(began) }
