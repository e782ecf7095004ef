package sasl

import (
	"errors"
	"strings"
	"testing"
)

// The example of RFC 2831 section 4.
func TestDigestVector(t *testing.T) {
	hash := DigestHA1("chris", "elwood.innosoft.com", "secret")
	in := digestInput{nonce: "OA6MG9tEQGm2hh", cnonce: "OA6MHXh6VqTrRk", uri: "imap/elwood.innosoft.com"}
	if got := in.response(hash); got != "d388dad90d4bbd760a152321f2143af7" {
		t.Errorf("response=%s", got)
	}
	if got := in.rspauth(hash); got != "ea40f60335c427b5527b84dbabcdfffd" {
		t.Errorf("rspauth=%s", got)
	}
}

// digestTest is a config whose only user is alice with the password secret.
func digestTest() DigestConfig {
	return DigestConfig{
		Realms: []string{"example.org", "other.example"},
		Hosts:  []string{"mail.example.org", "192.0.2.1", "2001:db8::1"},
		Rand:   fixedRand(),
		Verify: func(r *DigestResponse) error {
			if r.User == "alice" && r.MatchesPassword("secret") {
				return nil
			}
			return ErrCredentials
		},
	}
}

// answer builds a response that is right for digestTest, then edited.
func answer(edit func(f map[string]string)) []byte {
	f := map[string]string{
		"username": "alice", "realm": "example.org", "nonce": fixedNonce, "cnonce": "c",
		"nc": "00000001", "qop": "auth", "digest-uri": "smtp/mail.example.org", "charset": "utf-8",
	}
	if edit != nil {
		edit(f)
	}
	in := digestInput{nonce: f["nonce"], cnonce: f["cnonce"], uri: f["digest-uri"]}
	if z, ok := f["authzid"]; ok {
		in.authzid = &z
	}
	if _, ok := f["response"]; !ok {
		f["response"] = in.response(ha1(f["username"], f["realm"], "secret"))
	}
	var b strings.Builder
	for _, name := range []string{"username", "realm", "nonce", "cnonce", "nc", "qop", "digest-uri", "response", "charset", "authzid", "maxbuf"} {
		if v, ok := f[name]; ok {
			b.WriteString("," + name + "=" + quote(v))
		}
	}
	return []byte(b.String()[1:] + f["raw"])
}

// DIGEST-MD5, from challenge to the empty response after rspauth.
func TestDigest(t *testing.T) {
	s := NewDigestMD5(digestTest())
	challenge, done, err := say(t, s, nil)
	const want = `realm="example.org",realm="other.example",nonce="` + fixedNonce + `",qop="auth",charset=utf-8,algorithm=md5-sess`
	if challenge != want || done || err != nil {
		t.Fatalf("%q, %v, %v", challenge, done, err)
	}
	c, done, err := s.Next(answer(nil))
	in := digestInput{nonce: fixedNonce, cnonce: "c", uri: "smtp/mail.example.org"}
	if string(c) != "rspauth="+in.rspauth(DigestHA1("alice", "example.org", "secret")) || done || err != nil {
		t.Fatalf("%q, %v, %v", c, done, err)
	}
	if c, done, err = s.Next([]byte{}); c != nil || !done || err != nil {
		t.Fatalf("%q, %v, %v", c, done, err)
	}
	wantOver(t, s)
}

func TestDigestResponses(t *testing.T) {
	set := func(name, value string) []byte {
		return answer(func(f map[string]string) { f[name] = value })
	}
	without := func(name string) []byte {
		return answer(func(f map[string]string) { delete(f, name) })
	}
	raw := func(s string) []byte { return set("raw", s) }
	in := digestInput{nonce: fixedNonce, cnonce: "c", uri: "smtp/mail.example.org"}
	response := in.response(DigestHA1("alice", "example.org", "secret"))
	bare := "username=alice,realm=example.org,nonce=" + fixedNonce + ",cnonce=c,nc=00000001,qop=auth,digest-uri=smtp/mail.example.org,charset=utf-8,response=" + response

	for _, test := range []struct {
		name     string
		response []byte
		want     error
	}{
		{"right", answer(nil), nil},
		{"nothing quoted", []byte(bare), nil},
		{"names in capitals", []byte(strings.ReplaceAll(strings.ReplaceAll(bare, "nonce", "NONCE"), "nc=", "Nc=")), nil},
		{"white space and empty elements", []byte(" ,, " + strings.ReplaceAll(bare, ",", " ,\t\r\n, ") + ", ,"), nil},
		{"space around =", []byte(strings.ReplaceAll(bare, "=", " = ")), nil},
		{"escapes", []byte(strings.Replace(bare, "alice", `"\a\l\i\c\e"`, 1)), nil},
		{"second realm", set("realm", "other.example"), nil},
		{"no qop", without("qop"), nil},
		{"no charset", without("charset"), nil},
		{"unknown directives", raw(`,x=y,x="z",algorithm=md5-sess,algorithm=md5-sess`), nil},
		{"maxbuf", set("maxbuf", "1024"), nil},
		{"own authzid", set("authzid", "alice"), nil},
		{"empty authzid", set("authzid", ""), nil},
		{"capital host", set("digest-uri", "smtp/MAIL.Example.ORG"), nil},
		{"alias", set("digest-uri", "smtp/192.0.2.1"), nil},
		{"IPv6", set("digest-uri", "smtp/[2001:DB8::1]"), nil},
		{"root dot", set("digest-uri", "smtp/mail.example.org."), nil},
		{"service", set("digest-uri", "smtp/mail.example.org/example.org"), nil},

		{"wrong password", set("response", strings.Repeat("0", 32)), ErrCredentials},
		{"unknown user", set("username", "bob"), ErrCredentials},
		{"realm not offered", set("realm", "evil.example"), ErrCredentials},
		{"realm in capitals", set("realm", "EXAMPLE.ORG"), ErrCredentials},
		{"no realm", without("realm"), ErrCredentials},
		{"empty realm", set("realm", ""), ErrCredentials},
		{"other nonce", set("nonce", "1"+fixedNonce[1:]), ErrCredentials},
		{"other authzid", set("authzid", "bob"), ErrCredentials},
		{"other host", set("digest-uri", "smtp/evil.example"), ErrCredentials},
		{"no host", set("digest-uri", "smtp/"), ErrCredentials},
		{"other service", set("digest-uri", "imap/mail.example.org"), ErrCredentials},

		{"empty", []byte{}, ErrMalformed},
		{"only commas", []byte(",,, ,"), ErrMalformed},
		{"no user", without("username"), ErrMalformed},
		{"empty user", set("username", ""), ErrMalformed},
		{"no nonce", without("nonce"), ErrMalformed},
		{"no cnonce", without("cnonce"), ErrMalformed},
		{"empty cnonce", set("cnonce", ""), ErrMalformed},
		{"no nc", without("nc"), ErrMalformed},
		{"nc=2", set("nc", "00000002"), ErrMalformed},
		{"nc=1", set("nc", "1"), ErrMalformed},
		{"no digest-uri", without("digest-uri"), ErrMalformed},
		{"digest-uri without slash", set("digest-uri", "smtp"), ErrMalformed},
		{"digest-uri with three", set("digest-uri", "smtp/mail.example.org/a/b"), ErrMalformed},
		{"auth-int", set("qop", "auth-int"), ErrMalformed},
		{"charset", set("charset", "koi8-r"), ErrMalformed},
		{"not UTF-8", set("username", "al\xefce"), ErrMalformed},
		{"no response", []byte(strings.Replace(bare, "response=", "x=", 1)), ErrMalformed},
		{"short response", set("response", response[1:]), ErrMalformed},
		{"capital response", set("response", strings.ToUpper(response)), ErrMalformed},
		{"NUL", set("username", "alice\x00"), ErrMalformed},
		{"escaped NUL", []byte(strings.Replace(bare, "alice", "\"alice\\\x00\"", 1)), ErrMalformed},
		{"no end quote", []byte(bare + `,x="y`), ErrMalformed},
		{"ends in backslash", []byte(bare + `,x="y\`), ErrMalformed},
		{"no value", []byte(bare + `,x=`), ErrMalformed},
		{"no name", []byte(bare + `,="x"`), ErrMalformed},
		{"no equals", []byte(bare + `,x`), ErrMalformed},
		{"no comma", []byte(bare + ` x=y`), ErrMalformed},
		{"text behind a quote", []byte(bare + `,x="y"z`), ErrMalformed},
		{"too long", raw(",x=" + strings.Repeat("y", maxDigestResponse)), ErrMalformed},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := NewDigestMD5(digestTest())
			c, done, err := say(t, s, nil, test.response)
			if !errors.Is(err, test.want) || done || (err == nil) != strings.HasPrefix(c, "rspauth=") {
				t.Fatalf("%q, done=%v, error %v, want %v", c, done, err, test.want)
			}
			if err != nil {
				wantOver(t, s) // the nonce is used up
			}
		})
	}
	for _, name := range []string{"username", "realm", "nonce", "cnonce", "nc", "qop", "digest-uri", "response", "charset", "authzid", "maxbuf", "cipher"} {
		double := bare + "," + name + "=x," + name + "=x"
		_, _, err := say(t, NewDigestMD5(digestTest()), nil, []byte(double))
		if !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), "twice") {
			t.Errorf("%s twice: %v", name, err)
		}
	}
}

func TestDigestLongestResponse(t *testing.T) {
	for length, want := range map[int]error{maxDigestResponse - 1: nil, maxDigestResponse: ErrMalformed} {
		r := answer(nil)
		r = append(r, (",x=" + strings.Repeat("y", length-len(r)-3))...)
		_, _, err := say(t, NewDigestMD5(digestTest()), nil, r)
		if len(r) != length || !errors.Is(err, want) {
			t.Errorf("%d octets: %v, want %v", len(r), err, want)
		}
	}
}

// Subsequent authentication, and an initial response of any kind, is refused.
func TestDigestInitialResponse(t *testing.T) {
	for _, r := range [][]byte{{}, answer(nil)} {
		s := NewDigestMD5(digestTest())
		_, _, err := s.Next(r)
		wantErr(t, err, ErrInitialResponse)
		wantOver(t, s)
	}
}

func TestDigestNeedsTheEmptyResponse(t *testing.T) {
	s := NewDigestMD5(digestTest())
	_, _, err := say(t, s, nil, answer(nil), []byte("x"))
	wantErr(t, err, ErrMalformed)
	wantOver(t, s)
}

func TestDigestNoRealm(t *testing.T) {
	config := digestTest()
	config.Realms = nil
	for realm, want := range map[string]error{"": nil, "example.org": ErrCredentials} {
		config.Rand = fixedRand()
		s := NewDigestMD5(config)
		challenge, _, _ := say(t, s, nil)
		if strings.Contains(challenge, "realm") {
			t.Errorf("challenge %q", challenge)
		}
		_, _, err := s.Next(answer(func(f map[string]string) { f["realm"] = realm }))
		if !errors.Is(err, want) {
			t.Errorf("realm %q: %v", realm, err)
		}
	}
}

func TestDigestAnyHost(t *testing.T) {
	config := digestTest()
	config.Hosts = nil
	_, _, err := say(t, NewDigestMD5(config), nil, answer(func(f map[string]string) { f["digest-uri"] = "smtp/any.example" }))
	wantErr(t, err, nil)
}

// Verify's word: candidates in order, its own errors unchanged, and never in
// without a match.
func TestDigestVerify(t *testing.T) {
	right, wrong := DigestHA1("alice", "example.org", "secret"), DigestHA1("alice", "example.org", "x")
	for _, test := range []struct {
		name   string
		verify func(r *DigestResponse) error
		want   error
	}{
		{"second candidate", func(r *DigestResponse) error {
			if r.Matches(wrong) || !r.Matches(right) || r.Matches(wrong) {
				return errors.New("matched what it should not")
			}
			return nil
		}, nil},
		{"nil without a match", func(r *DigestResponse) error { r.Matches(wrong); return nil }, ErrCredentials},
		{"nil without asking", func(*DigestResponse) error { return nil }, ErrCredentials},
		{"match but disabled", func(r *DigestResponse) error { r.Matches(right); return ErrCredentials }, ErrCredentials},
		{"cannot tell", func(*DigestResponse) error { return errCannotTell }, errCannotTell},
	} {
		config := digestTest()
		config.Verify = test.verify
		if _, _, err := say(t, NewDigestMD5(config), nil, answer(nil)); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
	}
}

// RFC 2831 section 2.1.2.1: what fits is hashed as ISO 8859-1. Clients convert
// all, some or none of the three texts; each is right.
func TestDigestCharsets(t *testing.T) {
	const user, realm, password = "jürgen", "zürich", "geheimnïs"
	const user1, realm1, password1 = "j\xfcrgen", "z\xfcrich", "geheimn\xefs"
	if DigestHA1(user, realm, password) != ha1(user1, realm1, password1) {
		t.Error("DigestHA1 does not convert")
	}
	if DigestHA1("юра", realm, password) != ha1("юра", realm1, password1) {
		t.Error("DigestHA1 does not keep what does not fit")
	}
	config := digestTest()
	config.Realms = []string{realm}
	config.Verify = func(r *DigestResponse) error {
		if r.User == user && r.Realm == realm && r.MatchesPassword(password) {
			return nil
		}
		return ErrCredentials
	}
	for _, hashed := range [][3]string{
		{user, realm, password}, {user1, realm1, password1}, {user, realm, password1}, {user1, realm, password1},
	} {
		for _, charset := range []string{"utf-8", "", "undeclared utf-8"} {
			config.Rand = fixedRand()
			in := digestInput{nonce: fixedNonce, cnonce: "c", uri: "smtp/mail.example.org"}
			r := answer(func(f map[string]string) {
				f["username"], f["realm"], f["charset"] = user, realm, charset
				if charset == "" {
					f["username"], f["realm"] = user1, realm1
				}
				if charset != "utf-8" {
					delete(f, "charset")
				}
				f["response"] = in.response(ha1(hashed[0], hashed[1], hashed[2]))
			})
			if _, _, err := say(t, NewDigestMD5(config), nil, r); err != nil {
				t.Errorf("%q charset=%q: %v", hashed, charset, err)
			}
		}
	}
}

func TestDigestNonceIsFresh(t *testing.T) {
	a, _, _ := say(t, NewDigestMD5(DigestConfig{}), nil)
	b, _, _ := say(t, NewDigestMD5(DigestConfig{}), nil)
	if a == b || strings.Count(a, "nonce") != 1 {
		t.Errorf("%q and %q", a, b)
	}
	_, _, err := say(t, NewDigestMD5(DigestConfig{Rand: strings.NewReader("short")}), nil)
	if err == nil || errors.Is(err, ErrCredentials) || errors.Is(err, ErrMalformed) {
		t.Errorf("no randomness: %v", err)
	}
}

func TestDigestValidate(t *testing.T) {
	for realm, ok := range map[string]bool{
		"example.org": true, `quo"ted\`: true, "zürich": true,
		"": false, "a\nb": false, "\xff": false, strings.Repeat("r", 2000): false,
	} {
		if err := (DigestConfig{Realms: []string{realm}}).Validate(); (err == nil) != ok {
			t.Errorf("%.20q: %v", realm, err)
		}
	}
	if err := digestTest().Validate(); err != nil {
		t.Error(err)
	}
}

func TestDigestClient(t *testing.T) {
	for _, test := range []struct {
		user, password, realm, host string
		want                        error
	}{
		{"alice", "secret", "", "mail.example.org", nil},
		{"alice", "secret", "other.example", "mail.example.org", nil},
		{"alice", "Secret", "", "mail.example.org", ErrCredentials},
		{"alice", "secret", "", "evil.example", ErrCredentials},
		{`a"b\`, "secret", "", "mail.example.org", ErrCredentials},
	} {
		client := NewDigestMD5Client(test.user, test.password, test.realm, test.host)
		err := exchange(t, NewDigestMD5(digestTest()), client)
		if !errors.Is(err, test.want) || client.ServerProved() != (err == nil) {
			t.Errorf("%+v: %v, proved %v", test, err, client.ServerProved())
		}
	}
}

func TestDigestClientChallenges(t *testing.T) {
	for challenge, ok := range map[string]bool{
		`nonce="n",algorithm=md5-sess`:                             true,
		`nonce=n,algorithm="md5-sess",qop="auth-int, auth"`:        true,
		`nonce="n",algorithm=md5-sess,charset=utf-8`:               true,
		`nonce="n",algorithm=md5-sess,qop="auth-int"`:              false,
		`nonce="n",algorithm=md5`:                                  false,
		`nonce="n"`:                                                false,
		`algorithm=md5-sess`:                                       false,
		`nonce="n",nonce="m",algorithm=md5-sess`:                   false,
		`nonce="n",algorithm=md5-sess,"`:                           false,
		`realm="юра",nonce="n",algorithm=md5-sess`:                 false, // not ISO 8859-1
		`realm="юра",nonce="n",algorithm=md5-sess,charset="UTF-8"`: true,
	} {
		c := NewDigestMD5Client("alice", "secret", "", "mail.example.org")
		if r, err := c.Next([]byte(challenge)); (err == nil) != ok {
			t.Errorf("%s: %q, %v", challenge, r, err)
		}
		if !ok {
			continue
		}
		if _, err := c.Next([]byte("rspauth=" + strings.Repeat("0", 32))); err == nil || c.ServerProved() {
			t.Errorf("%s: wrong rspauth: %v", challenge, err)
		}
	}
}
