package passwd

import (
	"crypto/md5"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
)

func TestParseLine(t *testing.T) {
	const line = "alice@example.org:{PLAIN}secret {DIGEST-MD5.realm=msa.example.org}00112233445566778899aabbccddeeff:1000:1000:A. Lice:/home/alice:/bin/sh:" +
		"userdb_mail=maildir:~/Maildir  addresses=a@example.org,@example.net,*@*.dept.example.org allow_nets=192.0.2.0/24,2001:db8::1,::ffff:10.1.2.3/104,local quota=1"
	u, err := ParseLine(line)
	if err != nil {
		t.Fatal(err)
	}
	if u.Name != "alice@example.org" || u.Disabled || len(u.Credentials) != 2 ||
		u.Credentials[0].Scheme() != "PLAIN" || u.Credentials[1].Scheme() != "DIGEST-MD5.realm=msa.example.org" {
		t.Errorf("%v", u)
	}
	if p, ok := u.Plain(); p != "secret" || !ok {
		t.Errorf("Plain() = %q, %v", p, ok)
	}
	for s, want := range map[string]bool{"a+x@example.org": true, "x@example.net": true, "x@a.dept.example.org": true, "b@example.org": false} {
		a, _ := mailaddr.Parse(s, false)
		if got := slices.ContainsFunc(u.Addresses, func(p mailaddr.Pattern) bool { return p.Match(a) }); got != want {
			t.Errorf("%s: %v", s, got)
		}
	}
	for s, want := range map[string]bool{
		"192.0.2.200": true, "::ffff:192.0.2.1": true, "192.0.3.1": false, "2001:db8::1": true, "2001:db8::2": false, "10.9.9.9": true,
	} {
		if got := u.AllowedFrom(netip.MustParseAddr(s)); got != want {
			t.Errorf("from %s: %v", s, got)
		}
	}
	if !u.AllowedFrom(netip.Addr{}) {
		t.Error("not from a unix socket")
	}
}

// What stands in existing files.
func TestParseLineForms(t *testing.T) {
	for line, want := range map[string]struct {
		schemes  string
		disabled bool
	}{
		"bob:":                                  {"", false},
		"bob::1:1::/h::":                        {"", false},
		"bob:!$6$a$b":                           {"", true},
		"bob:*:1:1:::":                          {"", true},
		"bob:{plain}x":                          {"PLAIN", false},
		"bob:{PLAIN.B64}c2VjcmV0":               {"PLAIN", false},
		"bob:{plain.hex}736563726574":           {"PLAIN", false},
		"bob:{PLAIN}a { b":                      {"PLAIN", false},
		"bob:{PLAIN}a} {b":                      {"PLAIN", false},
		"bob:{PLAIN}x::::::nologin":             {"PLAIN", true},
		"bob:{PLAIN}x::::::nologin=y":           {"PLAIN", true},
		"bob:{PLAIN}x::::::a=b fail":            {"PLAIN", true},
		"bob:{PLAIN}x::::::nologin:remove":      {"PLAIN", false},
		"bob:{PLAIN}x::::::userdb_x=a:b:c":      {"PLAIN", false},
		"bob:{PLAIN}x {PLAIN}y {PLAIN.b64}eg==": {"PLAIN PLAIN PLAIN", false},
		"b ob:{SHA}e5e9fa1ba31ecd1ae84f75caaa474f3a663f05f4":      {"SHA", false},
		"bob:$1$abcdefgh$cHJi5PXp/ki/ktXzqlk6I1 {PLAIN}x::1":      {"CRYPT PLAIN", false},
		"bob:{digest-md5.realm=B.Hex}" + strings.Repeat("0f", 16): {"DIGEST-MD5.realm=B.Hex", false},
	} {
		u, err := ParseLine(line)
		if err != nil {
			t.Errorf("%s: %v", line, err)
			continue
		}
		var schemes []string
		for _, c := range u.Credentials {
			schemes = append(schemes, c.Scheme())
		}
		if got := strings.Join(schemes, " "); got != want.schemes || u.Disabled != want.disabled {
			t.Errorf("%s: %q, disabled %v", line, got, u.Disabled)
		}
	}
}

// Each error says what is wrong, and repeats nothing of a password.
func TestParseLineErrors(t *testing.T) {
	const h = "00112233445566778899aabbccddeeff"
	for line, want := range map[string]string{
		":{PLAIN}tops3cret":                         "a user name is required",
		" bob:{PLAIN}tops3cret":                     "white space",
		"b\xffb:{PLAIN}tops3cret":                   "not UTF-8",
		"bob:{PLAIN}tops3cret\x00":                  "control character",
		"bob:{PLAIN}tops3cret\u2028":                "control character",
		"bob:tops3cret":                             "means CRYPT",
		"bob:$apr1$ZjTqBB3f$tops3cret":              "make another with: caddy msa user",
		"bob:{tops3cret":                            `"}" is missing`,
		"bob:{tops3cret}x":                          "unknown scheme",
		"bob:{PLAIN}my {tops3cret} x":               "unknown scheme",
		"bob:{PLAIN.tops3cret}x":                    "unknown encoding",
		"bob:{PLAIN.hex}tops3cret":                  "not hexadecimal",
		"bob:{PLAIN.b64}tops3cret!":                 "not base64",
		"bob:{PLAIN}":                               "empty",
		"bob:{PLAIN}" + strings.Repeat("x", 1025):   "more than 1024",
		"bob:{SHA512-CRYPT}$5$a$b":                  "does not begin with $6$",
		"bob:{SHA512-CRYPT}$6$a$tops3cret":          "form",
		"bob:{CRYPT}$6$rounds=999$a$tops3cret":      "999 rounds",
		"bob:{CRYPT}$6$rounds=99999999$a$tops3cret": "99999999 rounds",
		"bob:{CRYPT}$6$rounds=-1$a$tops3cret":       "-1 rounds",
		"bob:{CRYPT}$9$a$tops3cret":                 "unknown kind",
		"bob:{BLF-CRYPT}$2b$31$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW": "cost 31",
		"bob:{BLF-CRYPT}$2b$10$tops3cret":                                             "form",
		"bob:{ARGON2ID}$argon2id$tops3cret":                                           "form",
		"bob:{ARGON2ID}$argon2id$v=19$m=99999999,t=3,p=1$Ym0kNKa8m7CRFxWFv0xBKA$IUjJcWbacXAfRP/N+7cXrCFdWwcJfrPGVFEKimE0CYs": "out of bounds",
		"bob:{ARGON2ID}$argon2id$v=19$m=64,t=3,p=1x$Ym0kNKa8m7CRFxWFv0xBKA$IUjJcWbacXAfRP/N+7cXrCFdWwcJfrPGVFEKimE0CYs":      "form",
		"bob:{PBKDF2}$1$salt$0$" + h:                     "0 rounds",
		"bob:{PBKDF2}$1$salt$tops3cret":                  "form",
		"bob:{SCRAM-SHA-256}4096,tops3cret":              "form",
		"bob:{SCRAM-SHA-256}4096,c2FsdA==,c2FsdA==,eA==": "32 octets",
		"bob:{DIGEST-MD5}tops3cret":                      "not hexadecimal",
		"bob:{DIGEST-MD5}0011":                           "2 octets",
		"bob:{DIGEST-MD5.realm=}" + h:                    "a realm is required",
		"bob:{PLAIN.realm=r}" + h:                        "only DIGEST-MD5",
		"bob:{SSHA}5en6G6MezRroT3XKqkdPOmY/BfQ=":         "20 octets",
		"bob:{PLAIN}x::::::nopassword":                   "give the user one",
		"bob:{PLAIN}x::::::proxy=y":                      "not proxied",
		"bob:{PLAIN}x::::::user=carol":                   "write the line for that name",
		"bob:{PLAIN}x::::::user:protected=carol":         "write the line for that name",
		"bob:{PLAIN}x::::::login_user=carol":             "for another",
		"bob:{PLAIN}x::::::password=tops3cret":           "second field",
		"bob:{PLAIN}x::::::allow_nets=":                  "not a network",
		"bob:{PLAIN}x::::::allow_nets=192.0.2.0/33":      "not a network",
		"bob:{PLAIN}x::::::allow_nets=fe80::1%eth0":      "not a network",
		"bob:{PLAIN}x::::::addresses=":                   "empty",
		"bob:{PLAIN}x::::::addresses=a@example.org,bob":  "no domain",
		strings.Repeat("x", MaxLine+1):                   "longer than",
	} {
		_, err := ParseLine(line)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80q: %v, want %q", line, err, want)
		} else if strings.Contains(strings.ToLower(err.Error()), "tops3cret") {
			t.Errorf("%q: %v", line, err)
		}
	}
}

func TestGenerateErrors(t *testing.T) {
	for _, tc := range []struct {
		scheme, user, password string
		opts                   Options
		want                   string
	}{
		{"PLAIN", "a", "", Options{}, "empty"},
		{"PLAIN", "", "x", Options{}, "a user name is required"},
		{"ROT13", "a", "x", Options{}, "unknown scheme"},
		{"BLF-CRYPT", "a", strings.Repeat("x", 73), Options{}, "72"},
		{"BLF-CRYPT", "a", "x", Options{Rounds: 40}, "cost 40"},
		{"SCRAM-SHA-256", "a", "x", Options{Rounds: 100}, "fewer than 4096"},
		{"SHA512-CRYPT", "a", "x", Options{Rounds: -1}, "-1 rounds"},
		{"ARGON2ID", "a", "x", Options{Memory: 1}, "out of bounds"},
		{"ARGON2ID", "a", "\u0007", Options{}, "SASLprep"},
		{"DIGEST-MD5.realm=", "a", "x", Options{}, "realm"},
		{"DIGEST-MD5.realm=a:b", "a", "x", Options{}, "realm"},
		{"SHA512-CRYPT", "a", "x", Options{Rand: strings.NewReader("")}, "EOF"},
	} {
		if _, err := Generate(tc.scheme, tc.user, tc.password, tc.opts); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%+v: %v", tc, err)
		}
	}
	for _, tc := range []struct {
		user       string
		creds, adr []string
	}{
		{"a:b", nil, nil}, {"#a", nil, nil}, {"a\n", nil, nil},
		{"a", []string{"{PLAIN}a:b"}, nil}, {"a", []string{"{PLAIN}a {PLAIN}b"}, nil}, {"a", []string{"x"}, nil},
		{"a", nil, []string{"x"}}, {"a", nil, []string{"@x.org nologin"}}, {"a", nil, []string{"@x.org,@y.org"}},
	} {
		if line, err := FormatLine(tc.user, tc.creds, tc.adr); err == nil {
			t.Errorf("%q", line)
		}
	}
}

func TestGenerateSeveral(t *testing.T) {
	const name = "alice@example.org"
	var creds []string
	for _, scheme := range []string{"", "SCRAM-SHA-256", "DIGEST-MD5", "DIGEST-MD5.realm=msa.example.org"} {
		s, err := Generate(scheme, name, "pä:ss wörd", Options{Memory: 64})
		if err != nil {
			t.Fatal(err)
		}
		creds = append(creds, s)
	}
	line, err := FormatLine(name, creds, []string{"@example.org", "b@example.net"})
	if err != nil {
		t.Fatal(err)
	}
	u := parseUser(t, line)
	for _, c := range u.Credentials {
		if ok, err := c.Verify("pä:ss wörd"); !ok || err != nil {
			t.Errorf("%v: %v, %v", c, ok, err)
		}
	}
	if !strings.HasPrefix(creds[0], "{ARGON2ID}$argon2id$v=19$m=64,t=2,p=1$") {
		t.Error(creds[0])
	}
	again, _ := Generate("", name, "pä:ss wörd", Options{Memory: 64})
	if again == creds[0] {
		t.Error("the same salt twice")
	}
}

// RFC 2831 has letters that ISO 8859-1 knows hashed in that, as some clients do; others hash UTF-8. Both log in, and PLAIN does by
// either.
func TestGenerateDigests(t *testing.T) {
	for _, tc := range []struct {
		scheme, user, name, realm, password string
		want                                int
	}{
		{"DIGEST-MD5.realm=R", "alice@example.org", "alice@example.org", "R", "pässwörd", 2},
		{"DIGEST-MD5", "müller@example.org", "müller", "example.org", "secret", 2},
		{"digest-md5", "alice@example.org", "alice", "example.org", "secret", 1},
		{"DIGEST-MD5", "alice@example.org", "alice", "example.org", "пароль", 1},
		{"SHA256-CRYPT", "müller@example.org", "", "", "pässwörd", 1},
	} {
		all, err := GenerateEach(tc.scheme, tc.user, tc.password, Options{Rounds: 1000})
		if err != nil || len(all) != tc.want {
			t.Errorf("%+v: %d, %v", tc, len(all), err)
			continue
		}
		line, err := FormatLine(tc.user, all, nil)
		if err != nil {
			t.Fatal(err)
		}
		u := parseUser(t, line)
		if tc.name != "" {
			ha1s := u.DigestHA1(tc.name, tc.realm)
			if !slices.Contains(ha1s, sasl.DigestHA1(tc.name, tc.realm, tc.password)) || !slices.Contains(ha1s, md5.Sum([]byte(tc.name+":"+tc.realm+":"+tc.password))) {
				t.Errorf("%+v: %x", tc, ha1s)
			}
		}
		for _, one := range all {
			if !verifies(t, parseUser(t, tc.user+":"+one), tc.password) || verifies(t, parseUser(t, tc.user+":"+one), tc.password+"x") {
				t.Errorf("%+v: PLAIN", tc)
			}
		}
	}
}
