package webcall

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// WebhookKey signs calls as Standard Webhooks (https://www.standardwebhooks.com) has it.
type WebhookKey []byte

// secretPrefix is what a secret of Standard Webhooks begins with. It may be left out.
const secretPrefix = "whsec_"

// Sizes of a secret, in octets.
const (
	minWebhookKey = 24
	maxWebhookKey = 64
)

// ParseWebhookKey reads a secret: whsec_ and base64.
func ParseWebhookKey(secret string) (WebhookKey, error) {
	text := strings.TrimRight(strings.TrimPrefix(secret, secretPrefix), "=")
	key, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil { // whose text shows part of it
		return nil, errors.New("is not whsec_ followed by base64; make one with: echo whsec_$(openssl rand -base64 32)")
	}
	if len(key) < minWebhookKey || len(key) > maxWebhookKey {
		return nil, errors.New("does not hold 24 to 64 octets; make one with: echo whsec_$(openssl rand -base64 32)")
	}
	return key, nil
}

// WebhookHeader is the header of a call with that body: its id, the same in every attempt, the time, and a signature for each key.
func WebhookHeader(id string, now time.Time, body []byte, keys ...WebhookKey) http.Header {
	stamp := strconv.FormatInt(now.Unix(), 10)
	h := http.Header{"Webhook-Id": {id}, "Webhook-Timestamp": {stamp}}
	var signatures []string
	for _, key := range keys {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(id + "." + stamp + "."))
		mac.Write(body)
		signatures = append(signatures, "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	}
	if len(signatures) > 0 {
		h["Webhook-Signature"] = []string{strings.Join(signatures, " ")}
	}
	return h
}
