package passwd

import "slices"

// CanSCRAM reports whether the user can log in with SCRAM-SHA-256.
func (u *User) CanSCRAM() bool {
	_, ok := scramCost(u)
	return ok && !u.decoy
}

// CanDigest reports whether the user can log in with DIGEST-MD5 in one of the realms.
func (u *User) CanDigest(realms []string) bool {
	return slices.ContainsFunc(u.Credentials, func(c Credential) bool {
		switch m := c.method().(type) {
		case *clear:
			return true
		case *digest:
			return slices.Contains(realms, m.realm)
		}
		return false
	})
}

// Survey counts the users who can log in at all, and those of them who cannot in the way that can
// tells of.
func (t *Table) Survey(can func(u *User) bool) (users, without int) {
	for _, u := range t.users {
		if u.Disabled || len(u.Credentials) == 0 {
			continue
		}
		if users++; !can(u) {
			without++
		}
	}
	return users, without
}
