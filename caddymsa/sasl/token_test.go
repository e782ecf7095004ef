package sasl

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/emersion/go-sasl"
)

func acceptToken(wantUser, wantToken string) TokenFunc {
	return func(user, token string) error {
		if user != wantUser || token != wantToken {
			return &TokenRefusal{Status: "insufficient_scope", Scope: "smtp", OpenIDConfiguration: "https://issuer.example/.well-known/openid-configuration",
				Err: errors.New("not this one")}
		}
		return nil
	}
}

// RFC 7628 section 4.1, and Google's XOAUTH2 example.
func TestTokenAccepted(t *testing.T) {
	for _, tt := range []struct {
		server               func(TokenFunc) sasl.Server
		user, token, initial string
	}{
		{NewOAuthBearer, "user@example.com", "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==",
			"n,a=user@example.com,\x01host=server.example.com\x01port=587\x01auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\x01\x01"},
		{NewOAuthBearer, "", "t", "n,,\x01auth=bearer t\x01\x01"},
		{NewOAuthBearer, "a,b=c", "t", "y,a=a=2Cb=3Dc,\x01auth=Bearer t\x01\x01"},
		{NewXOAuth2, "someuser@example.com", "ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg",
			"user=someuser@example.com\x01auth=Bearer ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg\x01\x01"},
	} {
		s := tt.server(acceptToken(tt.user, tt.token))
		if challenge, done, err := s.Next(nil); len(challenge) > 0 || done || err != nil {
			t.Fatal("the first challenge:", challenge, done, err)
		}
		if challenge, done, err := s.Next([]byte(tt.initial)); len(challenge) > 0 || !done || err != nil {
			t.Errorf("%q: %q, %v, %v", tt.initial, challenge, done, err)
		}
		if _, _, err := s.Next(nil); err == nil {
			t.Error("the exchange goes on after its end")
		}
	}
}

// A refusal tells the client what is needed, and nothing else; whatever it answers, it is
// refused. go-sasl's server panics at the empty answer.
func TestTokenRefused(t *testing.T) {
	for _, answer := range []string{"\x01", "", "anything"} {
		for initial, s := range map[string]sasl.Server{
			"n,,\x01auth=Bearer wrong\x01\x01":    NewOAuthBearer(acceptToken("", "right")),
			"user=u\x01auth=Bearer wrong\x01\x01": NewXOAuth2(acceptToken("u", "right")),
		} {
			challenge, done, err := s.Next([]byte(initial))
			var told map[string]string
			if err != nil || done || json.Unmarshal(challenge, &told) != nil || told["scope"] != "smtp" || strings.Contains(string(challenge), "not this one") {
				t.Errorf("%q: %s, %v, %v", initial, challenge, done, err)
			}
			if told["status"] != "insufficient_scope" && told["status"] != "403" {
				t.Errorf("status %s", told["status"])
			}
			if _, done, err := s.Next([]byte(answer)); done || !errors.Is(err, ErrCredentials) {
				t.Errorf("after %q: %v, %v", answer, done, err)
			}
		}
	}
}

func TestTokenCannotTell(t *testing.T) {
	down := errors.New("down")
	s := NewOAuthBearer(func(string, string) error { return down })
	if challenge, done, err := s.Next([]byte("n,,\x01auth=Bearer t\x01\x01")); challenge != nil || done || !errors.Is(err, down) {
		t.Error(challenge, done, err)
	}
}

func TestTokenMalformed(t *testing.T) {
	never := func(user, token string) error {
		t.Errorf("asked for %q, %q", user, token)
		return nil
	}
	for _, response := range []string{
		"", "n", "n,,", "n,,\x01", "n,,\x01\x01", "n,,auth=Bearer t\x01\x01", "p=tls-exporter,,\x01auth=Bearer t\x01\x01",
		"n,a=,\x01auth=Bearer t\x01\x01", "n,b=u,\x01auth=Bearer t\x01\x01", "n,a=u\x01auth=Bearer t\x01\x01", "n,a=u=3,\x01auth=Bearer t\x01\x01",
		"n,,\x01auth=Bearer t\x01", "n,,\x01auth=Basic t\x01\x01", "n,,\x01auth=Bearer \x01\x01", "n,,\x01auth=Bearer a\x01auth=Bearer b\x01\x01",
		"n,,\x01auth=Bearer a\nb\x01\x01", "n,,\x01auth\x01\x01", "n,,\x01auth=Bearer \xff\x01\x01",
	} {
		if _, done, err := NewOAuthBearer(never).Next([]byte(response)); done || !errors.Is(err, ErrMalformed) {
			t.Errorf("%q: %v, %v", response, done, err)
		}
	}
	for _, response := range []string{
		"", "user=", "user=u", "user=\x01auth=Bearer t\x01\x01", "auth=Bearer t\x01\x01", "user=u\x01auth=Bearer t\x01", "user=u\x01\x01",
	} {
		if _, done, err := NewXOAuth2(never).Next([]byte(response)); done || !errors.Is(err, ErrMalformed) {
			t.Errorf("%q: %v, %v", response, done, err)
		}
	}
}

// go-sasl's client of OAUTHBEARER, and ours of XOAUTH2.
func TestTokenClients(t *testing.T) {
	for _, tt := range []struct {
		client sasl.Client
		server sasl.Server
	}{
		{sasl.NewOAuthBearerClient(&sasl.OAuthBearerOptions{Username: "u", Token: "t", Host: "h", Port: 587}), NewOAuthBearer(acceptToken("u", "t"))},
		{NewOAuthBearerClient("u", "t"), NewOAuthBearer(acceptToken("u", "t"))},
		{NewXOAuth2Client("u", "t"), NewXOAuth2(acceptToken("u", "t"))},
	} {
		_, initial, err := tt.client.Start()
		if err != nil {
			t.Fatal(err)
		}
		if _, done, err := tt.server.Next(initial); !done || err != nil {
			t.Errorf("%q: %v", initial, err)
		}
	}
}

func FuzzToken(f *testing.F) {
	f.Add("n,a=u,\x01host=h\x01auth=Bearer t\x01\x01")
	f.Add("user=u\x01auth=Bearer t\x01\x01")
	f.Fuzz(func(t *testing.T, response string) {
		for _, server := range []func(TokenFunc) sasl.Server{NewOAuthBearer, NewXOAuth2} {
			s := server(func(user, token string) error {
				if token == "" || strings.ContainsAny(token, "\x00\x01\r\n") || strings.ContainsAny(user, "\x00\x01\r\n") {
					t.Errorf("user %q, token %q", user, token)
				}
				return ErrCredentials
			})
			if _, done, _ := s.Next([]byte(response)); done {
				t.Error("a refused token is through")
			}
		}
	})
}
