package conf

import (
	"errors"
	"fmt"
	"io/fs"
)

// DSNFile says of an error in a connection string for PostgreSQL that a file which it names is at fault, as that may be the only thing wrong
// with it; nil of other errors. It repeats no part of the string.
func DSNFile(err error) error {
	file, ok := errors.AsType[*fs.PathError](err)
	if !ok {
		return nil
	}
	return fmt.Errorf("the connection string names a file (sslrootcert, sslcert or sslkey) that cannot be read: %w", file.Err)
}
