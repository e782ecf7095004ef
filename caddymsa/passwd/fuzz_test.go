package passwd

import (
	"strings"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa/names"
)

func FuzzParseLine(f *testing.F) {
	for _, s := range []string{
		"", "#", ":", "a", "a:", "a:!", "a:*", "alice@example.org:{PLAIN}secret", "a:{PLAIN.b64}c2VjcmV0", "a:{PLAIN.hex}73", "a:{PLAIN}x {PLAIN}y",
		"a:{DIGEST-MD5}00112233445566778899aabbccddeeff", "a@b:{DIGEST-MD5.realm=R}00112233445566778899aabbccddeeff",
		"a:{SCRAM-SHA-256}4096,c2FsdA==,3fznHR2nLt6s5Uc9pkcuYYlXOiLzdVc57bqsunkJWPs=,mZvsgTsMgCh47HwOSco26wBmZwIQifIWZD6EG7Bd3Pc=",
		"a:{PBKDF2}$1$salt$1$680c1f49e601904438f5e14c37d0761a9b20fef7",
		"a:{ARGON2ID}$argon2id$v=19$m=8,t=1,p=1$Ym0kNKa8m7CRFxWFv0xBKA$IUjJcWbacXAfRP/N+7cXrCFdWwcJfrPGVFEKimE0CYs",
		"a:$y$j9T$abcdefghijklmnopqrstu.$7uryFExhLbAhrpK1WytVzeNObCUVaK3VoKccP3fJEIB",
		"a:$sha1$40$abcdefgh$jeOWHbZ7maksf3rfQG2UezgX7GAQ", "a:$1$abcdefgh$cHJi5PXp/ki/ktXzqlk6I1",
		"a:$5$rounds=1000$ab-c$DVyd2Uvi1umBeQw.IihVeN1cYEJ1bnvzUR1oASFNLz9", "a:$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW",
		"a:{SSHA}KgrVmO9LuxPQ2ZJnPajPlmoH5nvTLpPn", "a:5ebe2294ecd0e0f08eab7690d2a6ee69[34]",
		"a:{PLAIN}x:1:1:g:h:s:addresses=@x.org,a@y.org allow_nets=::1,10.0.0.0/8,local nologin userdb_x=y",
		"a:{PLAIN}x::::::user=b", "a:{PLAIN}a {b", "a: {PLAIN}x", "a:{}x", "a:[", "a:]", "a:[13]", "a:$2b$10", "a:$2b$10$",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		u, err := ParseLine(line)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\r\n\x00") {
				t.Fatalf("error text %q", err)
			}
			return
		}
		if u.Name == "" || u.Name != strings.SplitN(line, ":", 2)[0] {
			t.Fatalf("%q: name %q", line, u.Name)
		}
		if p, ok := u.Plain(); ok {
			if ok, err := u.Verify(p); !ok || err != nil {
				t.Fatalf("%q: own password: %v, %v", line, ok, err)
			}
		}
		for _, c := range u.Credentials {
			if cost := c.method().cost(); cheap(cost) {
				if _, err := c.Verify("x"); err != nil {
					t.Fatalf("%q: %v", line, err)
				}
			}
		}
		table, err := NewTable([]User{u}, names.Folded)
		if err != nil {
			t.Fatal(err)
		}
		_ = table.Decoy([]byte("s"), "x")
		_ = u.Fingerprint()
		_ = table.DigestCandidates(u.Name, "")
		if again, err := Parse(strings.NewReader(line+"\r\n"+line), names.Folded); !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "\ufeff") && err == nil {
			t.Fatalf("%q: twice the same user: %v", line, again)
		}
	})
}

// cheap tells whether a check takes some milliseconds at most.
func cheap(cost string) bool {
	for _, prefix := range []string{"PLAIN", "MD5", "SHA1", "DIGEST-MD5", "BLF-CRYPT 04", "SHA256-CRYPT 1000", "SHA512-CRYPT 1000",
		"argon2id m=8,t=1,p=1", "argon2i m=8,t=1,p=1", "PBKDF2 1", "sha1crypt 40", "yescrypt j9T"} {
		if cost == prefix || prefix[len(prefix)-1] > '9' && strings.HasPrefix(cost, prefix+" ") {
			return true
		}
	}
	return cost == "SHA256" || cost == "SHA512"
}
