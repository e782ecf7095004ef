// Package passwd reads users files in the format of Dovecot's passwd-file, and
// checks passwords against what is stored in them.
//
// A line is
//
//	user:password:uid:gid:gecos:home:shell:extra
//
// split at the first seven colons; all but the first two fields may be left
// out. uid to shell are not used. A password is {SCHEME}value, {SCHEME.b64}value
// or {SCHEME.hex}value, and without a scheme it is CRYPT. Several credentials
// may stand in the field, each beginning at " {": then any of them will do. A
// clear password that contains ":" or " {" has to be written with .b64 or .hex.
//
// The extra fields are key=value, separated by spaces:
//
//	addresses=a@example.org,@example.net   what the user may send as (mailaddr.Pattern); ours
//	allow_nets=192.0.2.0/24,2001:db8::1    where the user may come from; "local" is a unix socket
//	attr_org=acme                          an attribute, for policies and matchers; ours
//	app_password=phone;{SCHEME}value       a further secret, for one device (AppPassword); ours
//	nologin, fail                          the user is disabled
//
// Fields that change who may log in, and that would be unsafe to ignore, make
// the line an error. Others are ignored. A password that begins with "!" or "*",
// as in /etc/shadow, disables the user; an empty one is no credential at all.
//
// Schemes: ARGON2ID, ARGON2I, BLF-CRYPT, SHA512-CRYPT, SHA256-CRYPT, MD5-CRYPT,
// CRYPT (any of these but Argon2, and yescrypt and sha1crypt), PBKDF2,
// SCRAM-SHA-256, DIGEST-MD5, PLAIN, and the unsalted and salted digests SHA,
// SHA256, SHA512, SSHA, SSHA256, SSHA512, SMD5, PLAIN-MD5 and LDAP-MD5.
//
// {DIGEST-MD5} is Dovecot's: MD5 of user:realm:password, where the name
// user@realm is split at the last "@". {DIGEST-MD5.realm=R} is ours: MD5 of
// name:R:password with the whole name, whatever it contains.
//
// Everything that holds a secret prints, marshals and logs as REDACTED, and no
// error repeats one.
package passwd
