package passwd

import "slices"

// CanSCRAM reports whether the user can log in with SCRAM-SHA-256, whichever of its secrets it uses, by its name.
func (u *User) CanSCRAM() bool {
	if u.decoy || len(u.Credentials) > 0 && len(u.Apps) > 0 || len(u.Apps) > 1 {
		return false // SCRAM has one key for a name: with any other secret it fails
	}
	if len(u.Apps) == 1 {
		u = u.with(&u.Apps[0])
	}
	_, ok := scramCost(u)
	return ok
}

// CanDigest reports whether the user can log in with DIGEST-MD5 in one of the realms, whichever of its secrets it uses.
func (u *User) CanDigest(realms []string) bool {
	can := func(credentials []Credential) bool {
		return slices.ContainsFunc(credentials, func(c Credential) bool {
			switch m := c.method().(type) {
			case *clear:
				return true
			case *digest:
				return slices.Contains(realms, m.realm)
			}
			return false
		})
	}
	for i := range u.Apps {
		if !can(u.Apps[i].Credentials) {
			return false
		}
	}
	return can(u.Credentials) || len(u.Credentials) == 0 && len(u.Apps) > 0
}

// Survey counts the users who can log in at all, and those of them who cannot in the way that can
// tells of.
func (t *Table) Survey(can func(u *User) bool) (users, without int) {
	for _, u := range t.users {
		if u.Disabled || len(u.all()) == 0 {
			continue
		}
		if users++; !can(u) {
			without++
		}
	}
	return users, without
}
