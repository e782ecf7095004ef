package sasl

import (
	"bytes"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/emersion/go-sasl"
	"github.com/xdg-go/scram"
)

// scramUsers knows user with the password pencil, as RFC 7677 section 3 does.
func scramUsers(t testing.TB) func(string) (SCRAMCredential, error) {
	t.Helper()
	salt, _ := base64.StdEncoding.DecodeString("W22ZaJ0SNY7soEsUEjb6gQ==")
	credential, err := NewSCRAMCredential("pencil", salt, 4096)
	if err != nil {
		t.Fatal(err)
	}
	return func(user string) (SCRAMCredential, error) {
		switch user {
		case "user":
			return credential, nil
		case "down":
			return SCRAMCredential{}, errCannotTell
		case "broken":
			return SCRAMCredential{Salt: salt, Iterations: 4096}, nil
		}
		return SCRAMCredential{}, fmt.Errorf("%w: unknown", ErrCredentials)
	}
}

const (
	vectorFirst  = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
	vectorServer = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
	vectorFinal  = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
	vectorEnd    = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
)

func vectorServerOf(config SCRAMConfig) *scramServer {
	s := NewSCRAM(config).(*scramServer)
	s.nonce = func() string { return "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0" }
	return s
}

// The example of RFC 7677 section 3, with and without an initial response.
func TestSCRAMVector(t *testing.T) {
	for _, initial := range []bool{true, false} {
		finished := ""
		s := vectorServerOf(SCRAMConfig{
			Lookup: scramUsers(t),
			Finish: func(user string) error { finished = user; return nil },
		})
		if !initial {
			if c, done, err := s.Next(nil); c == nil || len(c) > 0 || done || err != nil {
				t.Fatalf("%q, %v, %v", c, done, err)
			}
		}
		for _, step := range [][2]string{{vectorFirst, vectorServer}, {vectorFinal, vectorEnd}} {
			c, done, err := s.Next([]byte(step[0]))
			if string(c) != step[1] || done || err != nil {
				t.Fatalf("%q, %v, %v; want %q", c, done, err, step[1])
			}
		}
		if finished != "user" {
			t.Errorf("Finish for %q", finished)
		}
		if c, done, err := s.Next([]byte{}); c != nil || !done || err != nil {
			t.Fatalf("%q, %v, %v", c, done, err)
		}
		wantOver(t, s)
	}
}

func TestSCRAMFirst(t *testing.T) {
	binding := bytes.Repeat([]byte{7}, 32)
	plain := SCRAMConfig{}
	announced := SCRAMConfig{PlusAnnounced: true, Binding: binding}
	plus := SCRAMConfig{Plus: true, PlusAnnounced: true, Binding: binding}
	for _, test := range []struct {
		name   string
		config SCRAMConfig
		first  string
		want   error
	}{
		{"n", plain, "n,,n=user,r=abc", nil},
		{"y", plain, "y,,n=user,r=abc", nil},
		{"own authzid", plain, "n,a=user,n=user,r=abc", nil},
		{"empty authzid", plain, "n,a=,n=user,r=abc", nil},
		{"unknown user", plain, "n,,n=nobody,r=abc", nil}, // a decoy
		{"comma in the name", plain, "n,,n=a=2Cb=3Dc,r=abc", nil},
		{"SASLprep", plain, "n,,n=u\u00adser,r=abc", nil},
		{"extension", plain, "n,,n=user,r=abc,x=y", nil},
		{"n though announced", announced, "n,,n=user,r=abc", nil},
		{"bound", plus, "p=tls-exporter,,n=user,r=abc", nil},

		{"other authzid", plain, "n,a=admin,n=user,r=abc", ErrCredentials},
		{"prohibited name", plain, "n,,n=u\u200e\u0627ser,r=abc", ErrCredentials},
		{"p without PLUS", plain, "p=tls-exporter,,n=user,r=abc", ErrCredentials},
		{"p without PLUS, announced", announced, "p=tls-exporter,,n=user,r=abc", ErrCredentials},
		{"y though announced", announced, "y,,n=user,r=abc", ErrCredentials},
		{"n with PLUS", plus, "n,,n=user,r=abc", ErrCredentials},
		{"y with PLUS", plus, "y,,n=user,r=abc", ErrCredentials},
		{"tls-unique", plus, "p=tls-unique,,n=user,r=abc", ErrCredentials},
		{"tls-server-end-point", plus, "p=tls-server-end-point,,n=user,r=abc", ErrCredentials},
		{"unknown binding", plus, "p=x,,n=user,r=abc", ErrCredentials},
		{"PLUS without binding", SCRAMConfig{Plus: true}, "p=tls-exporter,,n=user,r=abc", errNoBinding},

		{"cannot tell", plain, "n,,n=down,r=abc", errCannotTell},

		{"empty", plain, "", ErrMalformed},
		{"one letter", plain, "n", ErrMalformed},
		{"unknown flag", plain, "x,,n=user,r=abc", ErrMalformed},
		{"no gs2 header", plain, "n=user,r=abc", ErrMalformed},
		{"no authzid field", plain, "n,n=user,r=abc", ErrMalformed},
		{"bad authzid", plain, "n,b=x,n=user,r=abc", ErrMalformed},
		{"mandatory extension", plain, "n,,m=x,n=user,r=abc", ErrCredentials},
		{"mandatory extension at the end", plain, "n,,n=user,r=abc,m=x", ErrCredentials},
		{"optional extension", plain, "n,,n=user,r=abc,x=m=y", nil},
		{"bad escape", plain, "n,,n=us=2cer,r=abc", ErrMalformed},
		{"no name", plain, "n,,r=abc,n=user", ErrMalformed},
		{"no nonce", plain, "n,,n=user", ErrMalformed},
		{"empty nonce", plain, "n,,n=user,r=", ErrMalformed},
		{"empty nonce and more", plain, "n,,n=user,r=,x=y", ErrMalformed},
		{"NUL", plain, "n,,n=us\x00er,r=abc", ErrMalformed},
		{"not UTF-8", plain, "n,,n=us\xffer,r=abc", ErrMalformed},
		{"many fields", plain, "n,,n=user,r=abc" + strings.Repeat(",x=y", 20), ErrMalformed},
		{"too long", plain, "n,,n=user,r=" + strings.Repeat("a", maxSCRAMMessage), ErrMalformed},
		{"empty name", plain, "n,,n=,r=abc", ErrCredentials},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.config.Lookup = scramUsers(t)
			s := NewSCRAM(test.config)
			c, done, err := s.Next([]byte(test.first))
			if !errors.Is(err, test.want) || done || (err == nil) != strings.HasPrefix(string(c), "r=abc") {
				t.Fatalf("%q, done=%v, error %v, want %v", c, done, err, test.want)
			}
			if err != nil {
				wantOver(t, s)
			}
		})
	}
}

func TestSCRAMFinal(t *testing.T) {
	nonce := "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
	zeros := base64.StdEncoding.EncodeToString(make([]byte, 32))
	for _, test := range []struct {
		name, final string
		want        error
	}{
		{"wrong proof", "c=biws," + nonce + ",p=" + zeros, ErrCredentials},
		{"short proof", "c=biws," + nonce + ",p=AAAA", ErrCredentials},
		{"other nonce", strings.Replace(vectorFinal, "hvYD", "hvYE", 1), ErrCredentials},
		{"other binding", strings.Replace(vectorFinal, "biws", "eSws", 1), ErrCredentials},
		{"added extension", strings.Replace(vectorFinal, ",p=", ",x=y,p=", 1), ErrCredentials},
		{"empty", "", ErrMalformed},
		{"no proof", "c=biws," + nonce, ErrMalformed},
		{"bad base64", "c=biws," + nonce + ",p=!", ErrMalformed},
		{"line break in base64", strings.Replace(vectorFinal, "dHzb", "dH\r\nzb", 1), ErrMalformed},
		{"NUL", vectorFinal + "\x00", ErrMalformed},
		{"first again", vectorFirst, ErrMalformed},
	} {
		s := vectorServerOf(SCRAMConfig{Lookup: scramUsers(t), Finish: func(string) error {
			t.Errorf("%s: Finish called", test.name)
			return nil
		}})
		c, done, err := say(t, s, []byte(vectorFirst), []byte(test.final))
		if c != "" || done || !errors.Is(err, test.want) {
			t.Errorf("%s: %q, %v, %v; want %v", test.name, c, done, err, test.want)
		}
		wantOver(t, s)
	}
	s := vectorServerOf(SCRAMConfig{Lookup: scramUsers(t)})
	_, _, err := say(t, s, []byte(vectorFirst), []byte(vectorFinal), []byte("x"))
	wantErr(t, err, ErrMalformed)
}

// A mandatory extension that is not known makes authentication fail, wherever it is and however
// right the proof (RFC 5802 section 5.1). The client has the same rule.
func TestSCRAMMandatoryExtension(t *testing.T) {
	for extension, ok := range map[string]bool{"": true, ",x=y": true, ",m=x": false, ",x=y,m=": false} {
		s := NewSCRAM(SCRAMConfig{Lookup: scramUsers(t)})
		first, _, err := s.Next([]byte("n,,n=user,r=abc"))
		if err != nil {
			t.Fatal(err)
		}
		key, _ := scramUsers(t)("user")
		nonce, _, _ := strings.Cut(string(first), ",")
		unproved := "c=biws," + nonce + extension
		salted, _ := pbkdf2.Key(sha256.New, "pencil", key.Salt, key.Iterations, sha256.Size)
		sign := func(key []byte, text string) []byte {
			mac := hmac.New(sha256.New, key)
			mac.Write([]byte(text))
			return mac.Sum(nil)
		}
		proof := sign(salted, "Client Key")
		stored := sha256.Sum256(proof)
		for i, b := range sign(stored[:], "n=user,r=abc,"+string(first)+","+unproved) {
			proof[i] ^= b
		}
		_, _, err = s.Next([]byte(unproved + ",p=" + base64.StdEncoding.EncodeToString(proof)))
		if ok != (err == nil) || !ok && (!errors.Is(err, ErrCredentials) || !strings.Contains(err.Error(), "extensions-not-supported")) {
			t.Errorf("%q: %v", extension, err)
		}
	}
	for _, challenge := range []string{"m=x,r=%s1,s=AAAA,i=4096", "r=%s1,s=AAAA,i=4096,m=x", "r=%s1,m=x,s=AAAA,i=4096"} {
		client, err := NewSCRAMClient("user", "pencil")
		if err != nil {
			t.Fatal(err)
		}
		_, first, _ := client.Start()
		_, nonce, _ := strings.Cut(string(first), ",r=")
		if _, err := client.Next(fmt.Appendf(nil, challenge, nonce)); err == nil || !strings.Contains(err.Error(), "extension") {
			t.Errorf("%s: %v", challenge, err)
		}
	}
}

// A password that SASLprep changes: clients apply it or do not, and both get in where the password is
// known. It is one exchange.
func TestSCRAMAlso(t *testing.T) {
	const typed = "cafe\u0301 m²"
	salt := []byte("0123456789abcdef")
	prepared, err := NewSCRAMCredential(typed, salt, 4096)
	if err != nil {
		t.Fatal(err)
	}
	raw := func(password string) SCRAMCredential {
		client, _ := scram.SHA256.NewClientUnprepped("", password, "")
		keys, _ := client.GetStoredCredentialsWithError(scram.KeyFactors{Salt: string(salt), Iters: 4096})
		return SCRAMCredential{Salt: salt, Iterations: 4096, StoredKey: keys.StoredKey, ServerKey: keys.ServerKey}
	}
	also := raw(typed)
	prepared.Also = &also
	for password, want := range map[string]bool{typed: true, "café m2": true, "cafe m2": false} {
		s := NewSCRAM(SCRAMConfig{Lookup: func(string) (SCRAMCredential, error) { return prepared, nil }})
		client, _ := scram.SHA256.NewClientUnprepped("user", password, "")
		conv := client.NewConversation()
		c := &SCRAMClient{mechanism: SCRAMSHA256, conv: conv}
		if err := exchange(t, s, c); want != (err == nil) || want && !c.ServerProved() || !want && !errors.Is(err, ErrCredentials) {
			t.Errorf("%q: %v", password, err)
		}
	}
}

// an unknown user gets as far as a wrong password does, sees the same
// salt each time, and hears the same.
func TestSCRAMDecoy(t *testing.T) {
	own := DecoySCRAM([]byte("secret"), "nobody", 10000, 12)
	for _, test := range []struct {
		name, user, want string
		lookup           func(string) (SCRAMCredential, error)
	}{
		{"wrong password", "user", ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", scramUsers(t)},
		{"unknown", "nobody", ",i=4096", scramUsers(t)},
		{"unknown, own decoy", "nobody", ",s=" + base64.StdEncoding.EncodeToString(own.Salt) + ",i=10000",
			func(string) (SCRAMCredential, error) { return own, ErrCredentials }},
	} {
		var salts []string
		for range 2 {
			s := NewSCRAM(SCRAMConfig{Lookup: test.lookup})
			client, err := NewSCRAMClient(test.user, "wrong")
			if err != nil {
				t.Fatal(err)
			}
			_, first, _ := client.Start()
			c, done, err := s.Next(first)
			if done || err != nil || !strings.HasSuffix(string(c), test.want) {
				t.Fatalf("%s: %q, %v, %v", test.name, c, done, err)
			}
			salts = append(salts, strings.SplitN(string(c), ",", 2)[1])
			final, err := client.Next(c)
			if err != nil {
				t.Fatal(err)
			}
			_, _, err = s.Next(final)
			wantErr(t, err, ErrCredentials)
		}
		if salts[0] != salts[1] {
			t.Errorf("%s: %v", test.name, salts)
		}
	}
}

// Even a decoy whose password is known lets nobody in: it is a disabled user.
func TestSCRAMDisabledUser(t *testing.T) {
	users := scramUsers(t)
	s := NewSCRAM(SCRAMConfig{Lookup: func(user string) (SCRAMCredential, error) {
		c, _ := users(user)
		return c, ErrCredentials
	}})
	client, _ := NewSCRAMClient("user", "pencil")
	wantErr(t, exchange(t, s, client), ErrCredentials)
}

func TestSCRAMBrokenCredential(t *testing.T) {
	_, _, err := NewSCRAM(SCRAMConfig{Lookup: scramUsers(t)}).Next([]byte("n,,n=broken,r=abc"))
	if err == nil || errors.Is(err, ErrCredentials) || errors.Is(err, ErrMalformed) {
		t.Errorf("%v", err)
	}
}

func TestSCRAMFinishPassesThrough(t *testing.T) {
	s := vectorServerOf(SCRAMConfig{Lookup: scramUsers(t), Finish: func(string) error { return errCannotTell }})
	c, _, err := say(t, s, []byte(vectorFirst), []byte(vectorFinal))
	if c != "" || err != errCannotTell {
		t.Errorf("%q, %v", c, err)
	}
}

func TestDecoySCRAM(t *testing.T) {
	a := DecoySCRAM([]byte("k"), "alice", 0, 0)
	if err := a.Validate(); err != nil || len(a.Salt) != 16 || a.Iterations != 4096 {
		t.Errorf("%v, salt of %d", err, len(a.Salt))
	}
	same := DecoySCRAM([]byte("k"), "alice", 0, 0)
	other := DecoySCRAM([]byte("k"), "bob", 0, 0)
	secret := DecoySCRAM([]byte("l"), "alice", 0, 0)
	if !bytes.Equal(a.Salt, same.Salt) || bytes.Equal(a.Salt, other.Salt) || bytes.Equal(a.Salt, secret.Salt) {
		t.Error("a decoy must depend on secret and user, and on nothing else")
	}
	if bytes.Equal(a.StoredKey, a.ServerKey) || bytes.Contains(a.StoredKey, a.Salt) {
		t.Error("keys must not follow from the salt")
	}
	for _, n := range []int{-1, 1, 33, 255, 1 << 30} {
		if c := DecoySCRAM(nil, "", n, n); c.Validate() != nil {
			t.Errorf("%d: %v", n, c.Validate())
		}
	}
}

func TestSCRAMCredential(t *testing.T) {
	for _, test := range []struct {
		password, salt string
		iterations     int
	}{{"", "salt", 4096}, {"x", "", 4096}, {"x", "salt", 0}, {"x\x07", "salt", 1}} {
		if _, err := NewSCRAMCredential(test.password, []byte(test.salt), test.iterations); err == nil {
			t.Errorf("%+v: no error", test)
		}
	}
	c, _ := NewSCRAMCredential("pencil", []byte("salt"), 1)
	for _, broken := range []SCRAMCredential{
		{Iterations: 1, StoredKey: c.StoredKey, ServerKey: c.ServerKey},
		{Salt: c.Salt, StoredKey: c.StoredKey, ServerKey: c.ServerKey},
		{Salt: c.Salt, Iterations: 1, StoredKey: c.StoredKey[1:], ServerKey: c.ServerKey},
		{Salt: c.Salt, Iterations: 1, StoredKey: c.StoredKey},
	} {
		if broken.Validate() == nil {
			t.Errorf("%+v passes", broken)
		}
	}
	for _, format := range []string{"%v", "%+v", "%s", "%#v"} {
		if out := fmt.Sprintf(format, c); !strings.Contains(out, "REDACTED") {
			t.Errorf("%s prints %s", format, out)
		}
	}
}

// A server that is not to be trusted cannot have a client compute for hours, nor weaken what it sends.
func TestSCRAMClientIterations(t *testing.T) {
	for count, ok := range map[string]bool{"4096": true, "4095": false, "20000000": false, "99999999999999999999": false, "-1": false, "": false} {
		client, err := NewSCRAMClient("user", "pencil")
		if err != nil {
			t.Fatal(err)
		}
		_, first, _ := client.Start()
		_, nonce, _ := strings.Cut(string(first), ",r=")
		if _, err := client.Next(fmt.Appendf(nil, "r=%sx,s=c2FsdA==,i=%s", nonce, count)); (err == nil) != ok {
			t.Errorf("%s iterations: %v", count, err)
		}
	}
}

func TestSCRAMClients(t *testing.T) {
	binding := bytes.Repeat([]byte{7}, 32)
	plus := SCRAMConfig{Plus: true, PlusAnnounced: true, Binding: binding, Lookup: scramUsers(t)}
	plain := SCRAMConfig{PlusAnnounced: true, Lookup: scramUsers(t)}
	for _, test := range []struct {
		name     string
		server   SCRAMConfig
		password string
		binding  []byte
		want     error
	}{
		{"plain", plain, "pencil", nil, nil},
		{"plus", plus, "pencil", binding, nil},
		{"wrong", plain, "Pencil", nil, ErrCredentials},
		{"plus, wrong", plus, "Pencil", binding, ErrCredentials},
		{"another connection", plus, "pencil", bytes.Repeat([]byte{8}, 32), ErrCredentials},
	} {
		var client *SCRAMClient
		var err error
		if test.binding == nil {
			client, err = NewSCRAMClient("user", test.password)
		} else {
			client, err = NewSCRAMPlusClient("user", test.password, test.binding)
		}
		if err != nil {
			t.Fatal(err)
		}
		err = exchange(t, NewSCRAM(test.server), client)
		if !errors.Is(err, test.want) || client.ServerProved() != (err == nil) {
			t.Errorf("%s: %v, proved %v", test.name, err, client.ServerProved())
		}
	}
	if _, err := NewSCRAMPlusClient("user", "pencil", nil); err == nil {
		t.Error("PLUS without binding")
	}
	if _, err := NewSCRAMClient("user", "\x07"); err == nil {
		t.Error("a password that SASLprep does not allow")
	}
}

// A client that supports binding and was told of PLUS, but by an attacker's
// work does not know.
func TestSCRAMDowngrade(t *testing.T) {
	client, err := scram.SHA256.NewClient("user", "pencil", "")
	if err != nil {
		t.Fatal(err)
	}
	for announced, want := range map[bool]error{true: ErrCredentials, false: nil} {
		conv := client.NewConversationAdvertisingChannelBinding()
		s := NewSCRAM(SCRAMConfig{Lookup: scramUsers(t), PlusAnnounced: announced})
		wantErr(t, exchange(t, s, &SCRAMClient{mechanism: SCRAMSHA256, conv: conv}), want)
	}
}

func TestClientsRefuseToGoOn(t *testing.T) {
	d := NewDigestMD5Client("alice", "secret", "", "mail.example.org")
	s, _ := NewSCRAMClient("user", "pencil")
	if err := exchange(t, NewDigestMD5(digestTest()), d); err != nil {
		t.Fatal(err)
	}
	if err := exchange(t, NewSCRAM(SCRAMConfig{Lookup: scramUsers(t)}), s); err != nil {
		t.Fatal(err)
	}
	for _, c := range []sasl.Client{d, s} {
		if _, err := c.Next(nil); !errors.Is(err, sasl.ErrUnexpectedServerChallenge) {
			t.Errorf("%T: %v", c, err)
		}
	}
}

func TestTLSExporterNeedsTLS(t *testing.T) {
	if _, err := TLSExporter(nil); err == nil {
		t.Error("nil")
	}
}
