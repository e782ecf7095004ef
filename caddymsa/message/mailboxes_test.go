package message

import (
	"encoding/json"
	"net/mail"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/traditionalchinese"

	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
)

// addresses are the keys of what was found, or the error.
func addresses(all []mailaddr.Address, err error) string {
	if err != nil {
		return "error: " + err.Error()
	}
	var keys []string
	for _, a := range all {
		keys = append(keys, a.Exact)
	}
	return strings.Join(keys, " ")
}

// What names a mailbox for certain is understood, whatever is around it; of the rest it is said what
// cannot be understood.
func TestParseMailboxes(t *testing.T) {
	for value, want := range map[string]string{
		// RFC 5322
		"ik@d.test": "ik@d.test", "<ik@d.test>": "ik@d.test", "Ik <ik@d.test>": "ik@d.test", "Ik <ik@d.test >": "ik@d.test", "Ik < ik@d.test>": "ik@d.test", "Ik <ik@d.test (work)>": "ik@d.test",
		"ik @d.test": "ik@d.test", "ik@ d.test": "ik@d.test", "ik @ d . test": "ik@d.test", "i . k@d.test": "i.k@d.test", "ik@d.test (Ik (de) boss@v.test)": "ik@d.test", "(a\\)) ik(b)@(c)d(d).(e)test(f)": "ik@d.test",
		"\tIk\t<ik@d.test\t>": "ik@d.test", "\"Ik, de\" <ik@d.test>": "ik@d.test", "\"a\\\"b\" <ik@d.test>": "ik@d.test", "\"boss@v.test\" <ik@d.test>": "ik@d.test", "\"a b\"@d.test": "\"a b\"@d.test", "\"a\".b@d.test": "\"a\".b@d.test",
		"ik@[192.0.2.1]": "ik@[192.0.2.1]", "a@d.test, b@d.test": "a@d.test b@d.test", ", a@d.test,,b@d.test,": "a@d.test b@d.test", "g: a@d.test, B <b@d.test>;, c@d.test": "a@d.test b@d.test c@d.test", "\"g\":a@d.test;": "a@d.test",
		"J. R. Doe <ik@d.test>": "ik@d.test", "=?x-none?Q?a?= <ik@d.test>": "ik@d.test", "=?iso-2022-jp?B?GyRCRnxLXBsoQg==?= <ik@d.test>": "ik@d.test",
		"=?iso-8859-1?Q?M=FCller,_J=FCrgen?= <ik@d.test>": "ik@d.test", "=?utf-8?q?M=C3=BCller;?= =?utf-8?q?_J=C3=BCrgen,_Dr.?=<ik@d.test>, b@d.test": "ik@d.test b@d.test", "=?utf-8*de?Q?a,b?=: ik@d.test;": "ik@d.test",
		// Devices
		"ik@d.test <ik@d.test>": "ik@d.test", "Ik ik@D.test <ik@d.test>": "ik@d.test", "'ik@d.test' <ik@d.test>": "ik@d.test", "[ik@d.test] x": "error: there", "M\xfcller <ik@d.test>": "ik@d.test", "\"M\xfcller\" <ik@d.test>": "ik@d.test",
		"Foo [Bar] <ik@d.test>": "ik@d.test", "Müller GmbH & Co. KG <ik@d.test>": "ik@d.test", "Scan\\Print <ik@d.test>": "ik@d.test", "Scan: <ik@d.test>": "ik@d.test", "a@d.test; b@d.test": "a@d.test b@d.test", "ik@d.test;": "ik@d.test",
		"<ik@d.test": "ik@d.test", "Ik <ik@d.test (c)": "ik@d.test", "a@d.test, Ik <ik@d.test": "a@d.test ik@d.test", "<<ik@d.test>>": "ik@d.test", "Ik <<ik@d.test>>": "ik@d.test", "<ik@d.test>>": "ik@d.test", "<ik@d.test> Ik de B.": "ik@d.test",
		"<@v.test:ik@d.test>": "ik@d.test", "Ik <@v.test,@[192.0.2.1]:ik@d.test>": "error: there", "Ik <@v.test, ,@w.x.test:ik@d.test>": "ik@d.test",
		"\x1b$BF|K\\\x1b(B <ik@d.test>": "ik@d.test", "\"\x1b$BF|K\\\x1b(B\" <ik@d.test>": "ik@d.test", "ik@d.test (\x1b$B\"!)>K\x1b(J)": "ik@d.test", "\x1b$B@>@n)(\x1b(J x <ik@d.test>": "ik@d.test", "ik@d.test (\x1b$B@>@n)(\x1b(J x)": "ik@d.test",
		"\u00a0Ik\u00a0<\u00a0ik@d.test\u00a0>\u00a0": "ik@d.test", "ik@d.test\u00a0(c)": "ik@d.test", "i\u00a0k@d.test": "error: there", "ik@d\u00a0.test": "ik@d.test", "\"a\u00a0b\" <ik@d.test>": "ik@d.test",
		"O'Brien/HP #2 {a} <ik@d.test>": "ik@d.test", "jürgen@bücher.test": "jürgen@bücher.test",
		// Uncertain
		"":                                      "error: there is no address",
		" (only a comment) ":                    "error: there is no address",
		"g:;":                                   "error: there is no address",
		"nonsense":                              `error: "nonsense" is not an address; a name with a comma or a semicolon needs quotes`,
		"=?utf-8?Q?a,boss?=@v.test":             `error: "=?utf-8?Q?a,boss?=@v.test" is not an address; an address behind a name needs angle brackets`,
		"ik@d.test =?utf-8?Q?a,b?=":             "error: the domain of",
		"<ik@d.test> =?utf-8?Q?a,b?=":           "error: text behind the address in angle brackets",
		"=?utf-8?Q?a, b?= <ik@d.test>":          `error: "=?utf-8?Q?a" is not an address; a name with a comma or a semicolon needs quotes`,
		"=?utf-8?Q?a,boss@v.test?= <ik@d.test>": `error: "=?utf-8?Q?a" is not an address; a name with a comma or a semicolon needs quotes`,
		"Doe, John <ik@d.test>":                 `error: "Doe" is not an address; a name with a comma or a semicolon needs quotes`,
		"Ik ik@d.test":                          `error: "Ik ik@d.test" is not an address; an address behind a name needs angle brackets`,
		"boss@v.test <ik@d.test>":               "error: the name before the address has an @ outside of quotes",
		"x boss@v.test y <ik@d.test>":           "error: the name before the address has an @ outside of quotes",
		"\x83@\x83 a@b <ik@d.test>":             "error: the name before the address has an @ outside of quotes",
		"[boss@v.test] <ik@d.test>":             "error: the name before the address has special characters outside of quotes",
		"> <ik@d.test>":                         "error: the name before the address has special characters outside of quotes",
		"<boss@v.test> <ik@d.test>":             "error: text behind the address in angle brackets",
		"<ik@d.test> x@v.test":                  "error: text behind the address in angle brackets",
		"<ik@d.test> \"x\"":                     "error: text behind the address in angle brackets",
		"<ik@d.test, b@d.test":                  "error: an angle bracket is not closed",
		"<ik@d.test <boss@v.test":               "error: the domain of",
		"<<ik@d.test>":                          "error: \"<ik@d.test\" is not an address; an address behind a name needs angle brackets",
		"<>":                                    "error: empty angle brackets",
		"<boss@v.test:ik@d.test>":               "error: a colon in angle brackets",
		"<mailto:ik@d.test>":                    "error: a colon in angle brackets",
		"<@v.test,boss@w.test:ik@d.test>":       "error: a route that is malformed",
		"<@v.test,ik@d.test>":                   "error: the domain of",
		"a: b: ik@d.test":                       "error: a group in a group, or a colon outside of quotes",
		"boss@v.test: ik@d.test":                "error: an address before a colon",
		"5\" screen <ik@d.test>":                "error: quotes are not closed",
		"Ik (work <ik@d.test>":                  "error: a comment is not closed",
		"Ik :) <ik@d.test>":                     "error: a parenthesis closes nothing",
		"Ik [work <ik@d.test>":                  "error: a bracket is not closed",
		"\x1b$BF|K\\ <ik@d.test>":               "error: there is a control character",
		"\x1b[2J <ik@d.test>":                   "error: there is a control character",
		"\x1b$B<a@b\x1b(B <ik@d.test>":          "error: there is an address in text that is not ASCII",
		"\x1b$Ba@v.t\x1b(B <ik@d.test>":         "error: there is an address in text that is not ASCII",
		"\"\\\x02\"@d.test":                     "error: there is a control character",
		"ik@d.test\x00":                         "error: there is a control character",
		"ik@d..test":                            `error: the domain of "ik@d..test" is malformed`,
		"ik@":                                   `error: the domain of "ik@" is malformed`,
		"ik@d.test@v.test":                      `error: the domain of "ik@d.test@v.test" is malformed`,
		"ik@[x]":                                `error: the domain of "ik@[x]" is malformed`,
		"\x1b$BF|\x1b(B@d.test":                 "error: there is a control character",
		"\xfc@d.test":                           "error: an address that is not in UTF-8",
		"=?utf-8?Q?boss@v.test?=":               `error: the domain of "=?utf-8?Q?boss@v.test?=" is malformed`,
	} {
		got := addresses(ParseMailboxes(value))
		if got != want && !((want == "error: there" || want == "error: the domain of") && strings.HasPrefix(got, want[:7])) {
			t.Errorf("%q: %s, want %s", value, got, want)
		}
	}
}

// In Shift_JIS, Big5 and GBK half a character may look like syntax. It is no matter where all addresses are certain all
// the same; otherwise readers would differ in them.
func TestMailboxesOfDoubleOctets(t *testing.T) {
	const doubt = "error: with a name that is not in UTF-8 readers may differ in whose address it is"
	encode := func(e encoding.Encoding, name string) string {
		s, err := e.NewEncoder().String(name)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	for _, set := range []struct {
		encoding encoding.Encoding
		names    string
	}{
		{japanese.ShiftJIS, "スキャナー 複合機 表 ソニー ｱ表 ｱ機 機[2F] 複合機　二階"},
		{traditionalchinese.Big5, "王一 成功 許功蓋"},
		{simplifiedchinese.GBK, "乗 俓 扫描乗"},
	} {
		for name := range strings.SplitSeq(set.names, " ") {
			name = encode(set.encoding, name)
			for _, value := range []string{name + " <ik@d.test>", `"` + name + `" <ik@d.test>`, `"` + name + `"<ik@d.test> (` + name + ")", name + " x<ik@d.test>, " + name + " <ik@d.test>"} {
				if got := addresses(ParseMailboxes(value)); strings.ReplaceAll(got, "ik@d.test ik@d.test", "ik@d.test") != "ik@d.test" {
					t.Errorf("%q: %s", value, got)
				}
			}
		}
	}
	for value, want := range map[string]string{
		"\x83@\x83 <ik@d.test>":                                   "ik@d.test",
		"[caf\xe9] x <ik@d.test>":                                 "ik@d.test",
		"caf\xe9[x] J. R. <ik@d.test>":                            "ik@d.test",
		"\x81\\ <a@d.test>, <b@d.test>":                           "a@d.test b@d.test",
		"\"\x81\\\" <boss@v.test>, \" <ik@d.test>":                doubt,
		"\"\x81\\\" <ik@d.test>, \" <boss@v.test> \" <ik@d.test>": doubt, // by octets there are quotes that do not close
		"\"\x81\\\" <ik@d.test>, \" <boss@v.test>":                doubt,
		"\"\x81\\\" <boss@v.test> <x>, \" <ik@d.test>":            doubt,
		"\"\xb1\x81\\\" <boss@v.test>, \" <ik@d.test>":            doubt,
		"\x81[ \"x] <boss@v.test>\" <ik@d.test>":                  doubt,
		"(\x81\\) <boss@v.test> (\\) <ik@d.test>":                 "error: ",
		"boss\x81@v.test <ik@d.test>":                             doubt,
		"boss\x81@ (x) v (y) . (z) test <ik@d.test>":              doubt,
		"\"\x83@ Co., Ltd.\" <ik@d.test>":                         "ik@d.test",
		"\"\x81@Sales 10:30\" <ik@d.test>":                        "ik@d.test",
		"boss\x81@ v . test <ik@d.test>":                          doubt,
		"\x81@[IPv6:fe80::1] <ik@d.test>":                         "error: ",
		"\x81\\ <ik@d.test> (boss@v.test)":                        doubt,
		"ik@d.test (\x95\\)":                                      doubt,
		"\x95\\ <\"a\\\"b\"@d.test>":                              doubt,
		"\x95\\ <\u00e9@d.test>":                                  doubt,
		"\x95\\ <i\x95@d.test>":                                   "error: ",
		"\x95\\, x <ik@d.test>":                                   "error: ",
	} {
		if got := addresses(ParseMailboxes(value)); got != want && (want != "error: " || !strings.HasPrefix(got, want)) {
			t.Errorf("%q: %s, want %s", value, got, want)
		}
	}
}

// A local part is what its quotes stand for.
func TestMailboxesLocalPart(t *testing.T) {
	for value, want := range map[string]string{`"a \"b\\"@d.test`: `a "b\`, `"a".b@d.test`: "a.b", `"ik"@d.test`: "ik"} {
		all, err := ParseMailboxes(value)
		if err != nil || len(all) != 1 || all[0].Local != want {
			t.Errorf("%s: %+v, %v", value, all, err)
		}
	}
}

func TestHeaderMailboxes(t *testing.T) {
	h, err := ReadHeader(strings.NewReader("From: a@d.test\r\nTo: x\r\nfrom : b\r\n @d.test\r\n\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got := addresses(h.Mailboxes("From")); got != "a@d.test b@d.test" {
		t.Error(got)
	}
	if got := addresses(h.Mailboxes("Sender")); got != "" {
		t.Error(got)
	}
	h = Header{{Name: "From", Raw: []byte("From: " + strings.Repeat("a@d.test,", 8000))}}
	if got := addresses(h.Mailboxes("From")); got != "error: it has more than 65536 octets" {
		t.Errorf("%.80s", got)
	}
}

// pythonMailboxes reads values in JSON, one a line, and prints the addresses that Python finds.
const pythonMailboxes = `
import sys, json, email.utils
for line in sys.stdin:
    print(json.dumps([a for _, a in email.utils.getaddresses([json.loads(line)]) if a]))
`

// Whatever address Python's email package or Go's sees in a field that is understood, is among ours.
func TestMailboxesAsOthersSee(t *testing.T) {
	parts := []string{"ik@d.test", "<ik@d.test>", "boss@v.test", "<boss@v.test>", "Ik", "\"Ik\"", "\"boss@v.test\"", "(c)", "(boss@v.test)", " ", ",", ";", ":", ".", "@", "<", ">", "(", ")", "\"", "\\", "[", "]", "[Bar]", "é", "=?utf-8?q?a?=", "=?utf-8?q?a,b?=", "a.b", "'"}
	var values []string
	for i := range len(parts) * len(parts) * len(parts) {
		a, b, c := parts[i%len(parts)], parts[i/len(parts)%len(parts)], parts[i/len(parts)/len(parts)]
		values = append(values, a+b+c, a+" "+b+c+" <ik@d.test>")
	}
	var understood []string
	for _, v := range values {
		if _, err := ParseMailboxes(v); err == nil {
			understood = append(understood, v)
		}
	}
	if len(understood) < 2000 {
		t.Fatalf("%d of %d are understood", len(understood), len(values))
	}
	others := make([][]string, len(understood))
	for i, v := range understood {
		if list, err := mail.ParseAddressList(v); err == nil {
			for _, a := range list {
				others[i] = append(others[i], a.Address)
			}
		}
	}
	if python, err := exec.LookPath("python3"); err == nil {
		var in strings.Builder
		for _, v := range understood {
			line, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			in.WriteString(string(line) + "\n")
		}
		cmd := exec.Command(python, "-c", pythonMailboxes)
		cmd.Stdin = strings.NewReader(in.String())
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(strings.TrimSpace(string(out)), "\n") {
			var found []string
			if err := json.Unmarshal([]byte(line), &found); err != nil {
				t.Fatal(err)
			}
			others[i] = append(others[i], found...)
		}
	}
	bad := 0
	for i, v := range understood {
		all, _ := ParseMailboxes(v)
		for _, other := range others[i] {
			if !strings.Contains(other, "boss@") {
				continue
			}
			if !strings.Contains(addresses(all, nil), "boss@") {
				if bad++; bad < 20 {
					t.Errorf("%q: %s, and others see %s", v, addresses(all, nil), other)
				}
			}
		}
	}
}

func FuzzMailboxes(f *testing.F) {
	for _, s := range []string{"Ik <ik@d.test>", "g: a@d.test, \"x\" <b@[192.0.2.1]>;", "(a (b)) ik @ d . test", "M\xfcller <ik@d.test>", "a@d <a@d>", "\"\x81\\\" <a@d.test>", "\"\x81\\\" <a@d.test>, \" <b@d.test>", "[\xe9] \x81@ <a@d.test>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		all, err := ParseMailboxes(value)
		if err == nil && len(all) == 0 {
			t.Fatal("nothing was found, and no error")
		}
		// Whoever takes some of what is doubtful for syntax, and some not, sees no other mailbox.
		for every := 1; err == nil && every <= 3 && !utf8.ValidString(value); every++ {
			text, n := []byte(value), 0
			for i := range text {
				if doubtful(value, i) {
					if n++; n%every == 0 {
						text[i] = 0xff
					}
				}
			}
			other, _ := parseMailboxes(string(text))
			for _, a := range other {
				if !slices.Contains(all, a) {
					t.Fatalf("%q: %+v, and %q: %+v", value, all, text, a)
				}
			}
		}
		for _, a := range all {
			if a.Domain == "" || !strings.Contains(a.Exact, "@") || strings.ContainsFunc(a.Exact, unicode.IsControl) {
				t.Fatalf("%q: %+v", value, a)
			}
		}
	})
}
