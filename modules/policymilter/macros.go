package policymilter

import (
	"strings"

	"github.com/d--j/go-milter"

	"github.com/caddy-msa/caddy-msa/caddymsa"
)

// macroClient is the client's name and address, which is its name here.
const macroClient milter.MacroName = "_"

// stageMacros are what a milter is told at a stage for which it asks for no macros of its own: as by Postfix, and who the client is
// at MAIL too, since some look for that nowhere else.
var stageMacros = [milter.StageEndMarker][]milter.MacroName{
	milter.StageConnect: {milter.MacroMTAFQDN, milter.MacroDaemonName, milter.MacroMTAVersion, macroClient, milter.MacroClientAddr, milter.MacroClientName},
	milter.StageHelo:    {milter.MacroTlsVersion, milter.MacroCipher, milter.MacroCipherBits},
	milter.StageMail:    {milter.MacroAuthType, milter.MacroAuthAuthen, milter.MacroMailAddr, milter.MacroMailHost, milter.MacroMailMailer, milter.MacroClientAddr, milter.MacroClientName},
	milter.StageRcpt:    {milter.MacroRcptMailer, milter.MacroRcptHost, milter.MacroRcptAddr},
	milter.StageData:    {milter.MacroQueueId},
	milter.StageEOH:     {milter.MacroQueueId},
	milter.StageEOM:     {milter.MacroQueueId},
}

// macroRequests tell the library of them.
func macroRequests() (options []milter.Option) {
	for stage, names := range stageMacros {
		options = append(options, milter.WithMacroRequest(milter.MacroStage(stage), names))
	}
	return options
}

// macros are what is known when the conversation begins. name is the client's.
func macros(s *caddymsa.Submission, name string) *milter.MacroBag {
	e := s.Entry
	version, cipher := tlsNames(e.TLS)
	bag := milter.NewMacroBag()
	for macro, value := range map[milter.MacroName]string{
		milter.MacroMTAFQDN: s.Hostname, milter.MacroDaemonName: "caddy-msa", milter.MacroMTAVersion: "caddy-msa", milter.MacroClientAddr: e.RemoteIP, milter.MacroClientName: name, macroClient: name,
		milter.MacroTlsVersion: version, milter.MacroCipher: cipher, milter.MacroCipherBits: cipherBits(cipher), milter.MacroAuthType: e.Mechanism, milter.MacroAuthAuthen: e.User,
		milter.MacroMailAddr: e.Sender, milter.MacroMailHost: s.Sender.ASCIIDomain(), milter.MacroMailMailer: "esmtp", milter.MacroRcptMailer: "esmtp",
	} {
		if value != "" {
			bag.Set(macro, value)
		}
	}
	return bag
}

// tlsNames are version and cipher suite as OpenSSL names them, and so Postfix and Sendmail: "TLSv1.3" and
// "TLS_AES_128_GCM_SHA256", or "TLSv1.2" and "ECDHE-RSA-AES128-GCM-SHA256".
func tlsNames(text string) (version, cipher string) {
	i := strings.LastIndexByte(text, ' ')
	if i < 0 {
		return "", ""
	}
	version = "TLSv" + strings.TrimLeft(text[:i], "TLSv ")
	cipher = text[i+1:]
	name, with, old := strings.Cut(strings.TrimPrefix(cipher, "TLS_"), "_WITH_")
	if !old {
		return version, cipher
	}
	with = strings.TrimSuffix(strings.NewReplacer("AES_128", "AES128", "AES_256", "AES256", "_CBC_", "_", "POLY1305_SHA256", "POLY1305").Replace(with), "_")
	cipher = strings.ReplaceAll(name+"-"+with, "_", "-")
	return version, strings.TrimPrefix(cipher, "RSA-")
}

// cipherBits is the length of a cipher's key.
func cipherBits(cipher string) string {
	switch {
	case strings.Contains(cipher, "128"):
		return "128"
	case strings.Contains(cipher, "256"), strings.Contains(cipher, "CHACHA20"):
		return "256"
	}
	return ""
}
