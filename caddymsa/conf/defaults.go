package conf

import "fmt"

// SetDefault gives a setting that was left out its default, and refuses one below zero.
func SetDefault[T int | int64 | Duration](v *T, def T, name string) error {
	if *v < 0 {
		return fmt.Errorf("%s: must not be negative; leave it out for the default, %v", name, def)
	}
	if *v == 0 {
		*v = def
	}
	return nil
}

// First returns the first error that is one.
func First(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
