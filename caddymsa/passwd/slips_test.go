package passwd

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa/names"
	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
)

// Slips: lines that mean something else than was meant.
func TestParseLineSlips(t *testing.T) {
	for line, want := range map[string]string{
		"\ufeffalice@x:{PLAIN}x":                         "invisible character (U+FEFF) in the user name", // of the second of two files that were put together
		"ali\u200bce@x:{PLAIN}x":                         "invisible character (U+200B)",
		"alice@x\u202e:{PLAIN}x":                         "invisible character (U+202E)",
		"\u201calice@x\u201d:{PLAIN}x":                   "typographic quotation mark (U+201C)",
		"alice@x secret":                                 `no ":"`,
		"alice@x":                                        `no ":"`,
		"alice@x {PLAIN}tops3cret":                       `line is name:{SCHEME}password`,
		"alice@x;{PLAIN}tops3cret":                       `no ":"`,
		"ik:{PLAIN}x::::::app_password=phone;tops3cret":  "a password begins with {SCHEME}",
		"ik:{PLAIN}x::::::app_password=phone;tops3cret=": "a password begins with {SCHEME}",
		"ik:{PLAIN}x::::::app_password=phone;expire=2030-01-01;{PLAIN}x": "did you mean expires",
		"ik:{PLAIN}x:addresses=a@example.org":                            "addresses is in field 3",
		":{PLAIN}x:addresses=a@example.org":                              "a user name is required",
		"ik:{PLAIN}x::::addresses=a@example.org nologin":                 "addresses is in field 6",
		"ik:{PLAIN}x:::::nologin":                                        "nologin is in field 7",
		"ik:{PLAIN}x:::::allow_nets=192.0.2.1":                           "allow_nets is in field 7",
		"ik:{PLAIN}x:::::::addresses=a@example.org":                      "more than seven colons",
		"ik:{PLAIN}x::::::::nologin":                                     "more than seven colons",
		"ik:{PLAIN}tops3cret addresses=a@example.org":                    "addresses is part of the password here",
		"ik:{PLAIN}tops3cret nologin":                                    "nologin is part of the password here",
		"ik:{PLAIN}tops3cret ":                                           "white space around the password",
		"ik: {PLAIN}tops3cret":                                           "white space around the password",
		"ik:{PLAIN}tops3cret\u00a0":                                      "white space around the password",
		"ik:{PLAIN}x::::::addresses=a@example.org, b@example.org":        "a comma with nothing beside it",
		"ik:{PLAIN}x::::::addresses=a@example.org b@example.org":         "separated by commas",
		"ik:{PLAIN}x::::::adresses=a@example.org":                        "did you mean addresses",
		"ik:{PLAIN}x::::::Addresses=a@example.org":                       "did you mean addresses",
		"ik:{PLAIN}x::::::address=a@example.org":                         "did you mean addresses",
		"ik:{PLAIN}x::::::allow_net=192.0.2.1":                           "did you mean allow_nets",
		"ik:{PLAIN}x::::::no_login":                                      "did you mean nologin",
	} {
		_, err := ParseLine(line)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "tops3cret") {
			t.Errorf("%q: %v, want %s", line, err, want)
		}
		if _, err := Parse(strings.NewReader("# users\nbob:{PLAIN}x\n"+line+"\n"), names.Folded); err == nil || !strings.HasPrefix(err.Error(), "line 3: ") {
			t.Errorf("%q: in a file: %v", line, err)
		}
	}
	for _, line := range []string{"ik:{PLAIN}pass word", "ik:{PLAIN}must not fail", "ik:{PLAIN}x:1000:1000:A. Lice, fail over:/home/ik:/usr/sbin/nologin:mail=x userdb_quota=1 login=y", "ik:{PLAIN}x::::::email=a@example.org"} {
		if u, err := ParseLine(line); err != nil || u.Disabled {
			t.Errorf("%q: %v %v", line, u, err)
		}
	}
}

// A credential that Dovecot can use and we cannot keeps its user out, with a reason, and nobody else.
func TestUnsupportedScheme(t *testing.T) {
	const h = "00112233445566778899aabbccddeeff"
	for password, scheme := range map[string]string{
		"{CRAM-MD5}" + h + h: "CRAM-MD5", "{cram-md5.b64}AAAA": "CRAM-MD5", "{SCRAM-SHA-1}4096,x,y,z": "SCRAM-SHA-1", "{OTP}x": "OTP", "{SASL}bob@REALM": "SASL", "{SCRAM-SHA-512}4096,x,y,z": "SCRAM-SHA-512", "{yescrypt}$y$j9T$a$b": "YESCRYPT", "{SHA3-512}x": "SHA3-512", "{PBKDF2-SHA256}1$a$b": "PBKDF2-SHA256", "{DES-CRYPT}8pcpH9TpSmAdU": "DES-CRYPT",
		"{CRYPT}8pcpH9TpSmAdU": "CRYPT of this kind", "{CRYPT}_J9..CCCCXBrJUJV154M": "CRYPT of this kind", "$7$CU..../....abcdefgh$cZzLGqrAxmvAXvlIsSlvH2SfQVFCBVwyxnPvdqTlSw0": "CRYPT of this kind", "$3$$5ebe2294ecd0e0f08eab7690d2a6ee69": "CRYPT of this kind", "{CRYPT}$2x$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW": "CRYPT of this kind",
	} {
		table := parseTable(t, "alice:{PLAIN}a\nbob:"+password+"\ncarol:"+password+" {PLAIN}c\n")
		some, all := table.Problems(1)
		if all != 2 || len(some) != 1 || !strings.Contains(some[0].Error(), `line 2: user "bob": password: scheme `+scheme+" is not supported") {
			t.Errorf("%s: %d problems: %v", password, all, some)
		}
		if bob, carol := table.Lookup("bob"), table.Lookup("carol"); !bob.Disabled || carol.Disabled || !verifies(t, carol, "c") || table.Lookup("alice").Disabled {
			t.Errorf("%s: %v, %v", password, bob, carol)
		}
	}
}

// Names fold: PLAIN, LOGIN and SCRAM in any spelling, DIGEST-MD5 in another one only where the clear
// password is at hand, since the client hashes the name as it is typed.
func TestCase(t *testing.T) {
	const text = "Lower@d.example:{PLAIN}secret\nhash@d.example:{DIGEST-MD5}00112233445566778899aabbccddeeff\n"
	table := parseTable(t, text)
	exact, err := Parse(strings.NewReader(text+"lower@d.example:{PLAIN}other\n"), names.Exact)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"Lower@d.example", "lower@d.example", "LOWER@D.EXAMPLE"} {
		u, err := table.Check(t.Context(), testKey, name, "secret", loopback)
		if err != nil || u == nil || u.Name != "Lower@d.example" {
			t.Errorf("%s: %v, %v", name, u, err)
		}
		if u, _ := exact.Check(t.Context(), testKey, name, "secret", loopback); (u != nil) != (name == "Lower@d.example") {
			t.Errorf("%s exactly: %v", name, u)
		}
		key, u, err := table.SCRAM(testKey, name, loopback)
		want, _ := sasl.NewSCRAMCredential("secret", key.Salt, key.Iterations)
		if err != nil || u == nil || string(want.StoredKey) != string(key.StoredKey) {
			t.Errorf("%s: SCRAM: %v, %v", name, u, err)
		}
		local, _, _ := strings.Cut(name, "@")
		if c := table.DigestCandidates(local, "d.example"); len(c) != 1 || c[0].Password != "secret" {
			t.Errorf("%s: DIGEST-MD5: %v", name, c)
		}
	}
	if len(table.DigestCandidates("hash", "d.example")) != 1 || len(table.DigestCandidates("Hash", "d.example")) != 0 {
		t.Error("an HA1 is for the name as it is written")
	}
	a, _, _ := table.SCRAM(testKey, "nobody", loopback)
	b, _, _ := table.SCRAM(testKey, "Nobody", loopback)
	if string(a.Salt) != string(b.Salt) {
		t.Error("the decoy of an unknown name depends on its spelling, and a user does not")
	}
}

// Passwords that SASLprep changes, as `doveadm pw` and `caddy msa user` hash them: what the user types, and
// what SASLprep makes of it, get in.
func TestPasswordForms(t *testing.T) {
	for typed, prepared := range map[string]string{"m²pass": "m2pass", "ab\u00a8cdef": "ab \u0308cdef", "cafe\u0301": "café", "nb\u00a0sp": "nb sp", "½x": "1⁄2x"} {
		for _, scheme := range []string{"SHA512-CRYPT", "SCRAM-SHA-256", "PBKDF2", "PLAIN", "DIGEST-MD5"} {
			made, err := Generate(scheme, "a", typed, Options{Rounds: 4096})
			if err != nil {
				t.Fatal(err)
			}
			u := parseUser(t, "a:"+made)
			if !verifies(t, u, typed) || scheme != "DIGEST-MD5" && !verifies(t, u, prepared) || verifies(t, u, typed+"x") {
				t.Errorf("%s of %q", scheme, typed)
			}
		}
		// Hashed as it was typed, as other programs do.
		raw := shaCrypt512.generate("6", typed, []byte("0123456789abcdef"), 1000)
		keys, _ := deriveKeys(typed, []byte("salt"), 1)
		for _, u := range []*User{parseUser(t, "a:{SHA512-CRYPT}"+raw), {Credentials: []Credential{newCredential("SCRAM-SHA-256", "", &scramKey{keys})}}} {
			apart := typed == "cafe\u0301" // which is known by its composed form too
			if !verifies(t, u, typed) || verifies(t, u, prepared) != apart || verifies(t, u, prepared+"x") {
				t.Errorf("%v of %q", u, typed)
			}
		}
		u := parseUser(t, "a:{PLAIN.b64}"+b64(typed))
		if key, ok, err := u.SCRAM(func(string) []byte { return []byte("salt") }); !ok || err != nil || key.Also == nil {
			t.Errorf("%q: %v %v %v", typed, key, ok, err)
		}
	}
	latin1 := shaCrypt512.generate("6", "secr\xe9t", []byte("0123456789abcdef"), 1000)
	if !verifies(t, parseUser(t, "a:{SHA512-CRYPT}"+latin1), "secr\xe9t") {
		t.Error("a password that is not UTF-8")
	}
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
