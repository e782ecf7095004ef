package caddymsa

import (
	"testing"

	"github.com/emersion/go-smtp"
)

// A reply in the log is as the client reads it.
func TestReplyText(t *testing.T) {
	for want, reply := range map[string]*smtp.SMTPError{
		"550 5.7.1 No":                     {Code: 550, EnhancedCode: smtp.EnhancedCode{5, 7, 1}, Message: "No"},
		"501 EHLO takes the client's name": {Code: 501, EnhancedCode: smtp.NoEnhancedCode, Message: "EHLO takes the client's name"},
	} {
		if got := ReplyText(reply); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
