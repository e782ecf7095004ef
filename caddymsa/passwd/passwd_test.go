package passwd

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"

	xcrypt "github.com/go-crypt/x/crypt"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/installed"
)

// doveadm runs Dovecot's password tool. Its absence is a failure in CI only.
func doveadm(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command(installed.Need(t, "doveadm"), append([]string{"pw"}, args...)...)
	cmd.Stdin = bytes.NewReader(nil)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("doveadm pw %q: %v: %s", args, err, out)
	}
	return strings.TrimSuffix(string(out), "\n")
}

func parseUser(t *testing.T, line string) *User {
	t.Helper()
	u, err := ParseLine(line)
	if err != nil {
		t.Fatal(err)
	}
	return &u
}

func verifies(t *testing.T, u *User, password string) bool {
	t.Helper()
	ok, err := u.Verify(password)
	if err != nil {
		t.Fatal(err)
	}
	return ok
}

// What Dovecot writes, we read.
func TestDovecotWritesWeRead(t *testing.T) {
	const user = "alice@example.org"
	for _, scheme := range []string{
		"ARGON2ID", "ARGON2I", "BLF-CRYPT", "CRYPT", "SHA512-CRYPT", "SHA256-CRYPT", "MD5-CRYPT", "MD5", "PBKDF2", "SCRAM-SHA-256",
		"DIGEST-MD5", "PLAIN", "CLEAR", "CLEARTEXT", "SHA", "SHA1", "SHA256", "SHA512", "SSHA", "SSHA256", "SSHA512", "SMD5", "PLAIN-MD5",
		"LDAP-MD5", "SHA512-CRYPT.b64", "SHA512-CRYPT.hex", "PLAIN.b64", "PLAIN.hex", "SSHA256.hex", "SSHA256.b64", "SHA256.hex", "PLAIN-MD5.b64",
		"DIGEST-MD5.b64", "SCRAM-SHA-256.b64", "PBKDF2.hex",
	} {
		t.Run(scheme, func(t *testing.T) {
			passwords := []string{"secret", "pä$$ wörd", strings.Repeat("long!", 15)}
			if strings.HasPrefix(scheme, "ARGON2") {
				passwords = passwords[1:2] // 64 MiB each
			}
			for _, password := range passwords {
				args := []string{"-s", scheme, "-u", user, "-p", password}
				if strings.HasPrefix(scheme, "ARGON2") {
					args = append(args, "-r", "3")
				}
				u := parseUser(t, user+":"+doveadm(t, args...))
				if !verifies(t, u, password) {
					t.Errorf("%q is refused", password)
				}
				for _, wrong := range []string{"", password[:len(password)-4]} {
					if strings.HasPrefix(scheme, "ARGON2") {
						break // see TestWeWriteDovecotReads
					}
					if verifies(t, u, wrong) {
						t.Errorf("%q passes for %q", wrong, password)
					}
				}
				if verifies(t, u, password+"\x00") {
					t.Error("a NUL passes")
				}
			}
		})
	}
}

// What we write, Dovecot reads, and we do.
func TestWeWriteDovecotReads(t *testing.T) {
	const user = "alice@example.org"
	for _, scheme := range []string{
		"ARGON2ID", "SCRAM-SHA-256", "DIGEST-MD5", "SHA512-CRYPT", "SHA256-CRYPT", "BLF-CRYPT", "PBKDF2", "PLAIN", "plain",
	} {
		t.Run(scheme, func(t *testing.T) {
			for _, password := range []string{"secret", "pä$$ wörd", "a:b {c", " x "} {
				opts := Options{Memory: 1024, Rounds: 5000, Rand: strings.NewReader("0123456789abcdef")}
				switch scheme {
				case "BLF-CRYPT":
					opts.Rounds = 4
				case "ARGON2ID":
					opts.Rounds = 3
				}
				s, err := Generate(scheme, user, password, opts)
				if err != nil {
					t.Fatal(err)
				}
				line, err := FormatLine(user, []string{s}, nil)
				if err != nil {
					t.Fatal(err)
				}
				u := parseUser(t, line)
				if !verifies(t, u, password) || verifies(t, u, password+"x") {
					t.Errorf("%q: not what was written", password)
				}
				if out := doveadm(t, "-t", s, "-u", user, "-p", password); !strings.Contains(out, "(verified)") {
					t.Errorf("doveadm says %q", out)
				}
			}
		})
	}
}

// Values of libxcrypt for the password "secret", and of other tools.
func TestKnownHashes(t *testing.T) {
	for _, s := range []string{
		"$y$j9T$abcdefghijklmnopqrstu.$7uryFExhLbAhrpK1WytVzeNObCUVaK3VoKccP3fJEIB",
		"$sha1$4000$abcdefgh$jeOWHbZ7maksf3rfQG2UezgX7GAQ",
		"$6$rounds=1000$abcdefghijklmnop$/ySzNKkDy6wawo9hTH6WxjPbiNMjvDjUNjja1ca1Iw8M6hvIP5521AJRYCq2LKFri/5fZ6KSUYfs/3ZzFVhh./",
		"$6$$2M9DchxW4txWyTYoZrH9D3VvAAQxBpEezYsLY6Cao.jwzEXpyL9xwip9hiUZX7GqTqe/E/z6iKvZqXUuqniQH.",
		"$5$rounds=1000$ab-c$DVyd2Uvi1umBeQw.IihVeN1cYEJ1bnvzUR1oASFNLz9",
		"$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW",
		"$1$abcdefgh$cHJi5PXp/ki/ktXzqlk6I1",
		"{SHA}e5e9fa1ba31ecd1ae84f75caaa474f3a663f05f4",                                                                     // hex, by its length
		"{MD5}Xr4ilOzQ4PCOq3aQ0qbuaQ==", "{MD5}5ebe2294ecd0e0f08eab7690d2a6ee69", "{md5}$1$abcdefgh$cHJi5PXp/ki/ktXzqlk6I1", // OpenLDAP's, and what Dovecot takes for MD5 as well
		"{PLAIN-MD5}Xr4ilOzQ4PCOq3aQ0qbuaQ==", "{LDAP-MD5}5ebe2294ecd0e0f08eab7690d2a6ee69", "{DIGEST-MD5}zDo1BqumAdL+7nv5s0I3zg==",
		"5ebe2294ecd0e0f08eab7690d2a6ee69[34]",
		"c05fe19bf7f2f3bd1ff0a9b5a3cfc5c0[56]",
		"$1$abcdefgh$cHJi5PXp/ki/ktXzqlk6I1[13]",
	} {
		want := !strings.HasSuffix(s, "[56]")
		if u := parseUser(t, "alice:"+s); verifies(t, u, "secret") != want || verifies(t, u, "Secret") {
			t.Errorf("%s: wrong answer", s)
		}
	}
}

// The two implementations agree, also where the password fills hash blocks.
func TestSHACryptLikeGoCrypt(t *testing.T) {
	for n := 0; n < 260; n += 1 + n/20 {
		password := []byte(strings.Repeat("päss", n/5+1)[:n])
		for salt := 0; salt <= 16; salt += 8 {
			salt := []byte("0123456789abcdef")[:salt]
			for _, k := range []*shaCryptKind{shaCrypt256, shaCrypt512} {
				want := xcrypt.KeySHACrypt(k.new, password, salt, 1000)
				if got := k.key(password, salt, 1000); string(got) != string(want) {
					t.Fatalf("%s of %d octets: %s, want %s", k.name, n, got, want)
				}
			}
		}
	}
}

func BenchmarkSHA512Crypt1000(b *testing.B) {
	value := shaCrypt512.generate("6", "secretpassword", []byte("0123456789abcdef"), 1000)
	u, err := ParseLine("a:{SHA512-CRYPT}" + value)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if ok, _ := u.Verify("secretpassword"); !ok {
			b.Fatal("refused")
		}
	}
}

func BenchmarkSchemes(b *testing.B) {
	for _, scheme := range []string{"ARGON2ID", "BLF-CRYPT", "SCRAM-SHA-256", "PLAIN", "DIGEST-MD5"} {
		s, err := Generate(scheme, "a", "secret", Options{})
		if err != nil {
			b.Fatal(err)
		}
		u, _ := ParseLine("a:" + s)
		b.Run(scheme, func(b *testing.B) {
			for b.Loop() {
				_, _ = u.Verify("wrong")
			}
		})
	}
}
