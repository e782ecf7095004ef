//go:build !unix

package cmduser

import "os"

// keepOwner has nothing to do where files have no owner to set.
func keepOwner(*os.File, os.FileInfo) {}
