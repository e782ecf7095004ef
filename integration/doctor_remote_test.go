package integration

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
)

// Postfix, with one fault a port: each is named with a remedy, by a command that knows nothing of it but the address.
func TestDoctorPostfix(t *testing.T) {
	t.Parallel()
	faults := []struct {
		name, options string
		tls           string // that the command is told
		check         string
		level         doctor.Level
		text          string
	}{
		{"as it should be, for Postfix", "", "starttls", "login", doctor.OK, "logs in with SCRAM-SHA-256, DIGEST-MD5, PLAIN, LOGIN"},
		{"passwords in clear", "-o smtpd_tls_security_level=may -o smtpd_tls_auth_only=no", "starttls", "R-05", doctor.Wrong, "AUTH before TLS is taken, so that a password would go in clear"},
		{"messages in clear", "-o smtpd_tls_security_level=may -o smtpd_client_restrictions=", "starttls", "R-05", doctor.Wrong, "MAIL before TLS is taken, so that a message would go in clear"},
		{"no TLS", "-o smtpd_tls_security_level=none", "starttls", "R-04", doctor.Wrong, "does not offer STARTTLS"},
		{"TLS at once", "-o smtpd_tls_wrappermode=yes", "starttls", "ports", doctor.Wrong, "TLS begins with the first octet"},
		{"no TLS at once", "", "implicit", "ports", doctor.Wrong, "answers in clear"},
		{"no SASL", "-o smtpd_sasl_auth_enable=no", "starttls", "R-09", doctor.Wrong, "nobody can log in"},
		{"open relay", "-o mynetworks=127.0.0.0/8 -o smtpd_client_restrictions= -o smtpd_relay_restrictions=permit_mynetworks,reject", "starttls", "R-10", doctor.Wrong, "messages of anybody to anybody"},
		{"another name", "-o myhostname=mail.example.test", "starttls", "ports", doctor.Wrong, `greets as "mail.example.test"`},
		{"blocked", "-o smtpd_delay_reject=no", "starttls", "ports", doctor.Wrong, "does not let clients in: 554"},
		{"small messages", "-o message_size_limit=1000000", "starttls", "R-08", doctor.Warn, "limited to 1000000 octets"},
		{"no pipelining", "-o smtpd_discard_ehlo_keywords=pipelining", "starttls", "R-08", doctor.Warn, "does not announce PIPELINING"},
		{"expired", "-o smtpd_tls_cert_file=$DIR/expired.pem -o smtpd_tls_key_file=$DIR/expired.key", "starttls", "certificate", doctor.Wrong, "has expired"},
		{"another certificate", "-o smtpd_tls_cert_file=$DIR/other.pem -o smtpd_tls_key_file=$DIR/other.key", "starttls", "certificate", doctor.Wrong, "but for other.example.test"},
		{"balancer", "-o smtpd_upstream_proxy_protocol=haproxy -o smtpd_upstream_proxy_timeout=1s", "starttls", "ports", doctor.Wrong, ""},
	}
	p := startPostfix(t)
	signed(t, postfixName, time.Now().Add(-time.Hour), p.dir+"/expired.pem", p.dir+"/expired.key")
	signed(t, "other.example.test", time.Now().Add(time.Hour), p.dir+"/other.pem", p.dir+"/other.key")
	master := masterCF
	addresses := make([]string, len(faults))
	for i, f := range faults {
		addresses[i] = freeAddress(t)
		master += fmt.Sprintf("%s inet n - n - 20 smtpd %s\n", addresses[i], f.options)
	}
	p.write("etc/master.cf", master)
	p.command(p.program, "-c", p.dir+"/etc", "reload")
	for _, a := range addresses {
		await(t, "Postfix at "+a, listening(a))
	}
	t.Run("faults", func(t *testing.T) {
		for i, f := range faults {
			t.Run(f.name, func(t *testing.T) {
				t.Parallel()
				found := examined(t, "--remote", addresses[i], "--tls", f.tls, "--hostname", postfixName, "--ca", p.certificate(), "--user", postfixUser)
				named(t, found, f.name, f.check, f.level, f.text)
			})
		}
	})
}

// signed writes a certificate that is its own root, valid until then.
func signed(t *testing.T, name string, until time.Time, certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, NotBefore: until.Add(-24 * time.Hour), NotAfter: until}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// joined makes one file, which everybody can read, of several.
func joined(t *testing.T, into string, files ...string) {
	t.Helper()
	var all []byte
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b...)
	}
	if err := errors.Join(os.WriteFile(into, all, 0o600), os.Chmod(into, 0o644)); err != nil {
		t.Fatal(err)
	}
}

// Exim, in the same way: its faults depend on the port, too.
func TestDoctorExim(t *testing.T) {
	t.Parallel()
	faults := []struct {
		name, setting, value string // the setting's value on the fault's port
		check                string
		level                doctor.Level
		text                 string
	}{
		{"as it should be, for Exim", "", "", "login", doctor.OK, "logs in with PLAIN"},
		{"passwords in clear", "auth_advertise_hosts", "*", "R-08", doctor.Wrong, "passwords in clear"},
		{"no SASL", "auth_advertise_hosts", "", "R-09", doctor.Wrong, "nobody can log in"},
		{"no TLS", "tls_advertise_hosts", "", "R-04", doctor.Wrong, "does not offer STARTTLS"},
		{"another certificate", "tls_certificate", "$D/other.pem", "certificate", doctor.Wrong, "but for other.example.test"},
		{"open relay", "acl_smtp_rcpt", "open", "R-10", doctor.Wrong, "messages of anybody to anybody"},
		{"another name", "smtp_banner", "mail.example.test ESMTP", "ports", doctor.Wrong, `greets as "mail.example.test"`},
		{"no pipelining", "pipelining_advertise_hosts", "", "R-08", doctor.Warn, "does not announce PIPELINING"},
	}
	otherwise := map[string]string{
		"auth_advertise_hosts": "${if eq{$tls_in_cipher}{}{}{*}}", "tls_advertise_hosts": "*", "tls_certificate": "$D/both.pem", "acl_smtp_rcpt": "rcpt", "smtp_banner": postfixName + " ESMTP", "pipelining_advertise_hosts": "*",
	}
	conf := strings.Replace(strings.Replace(eximConf, "$D/cert.pem", "$D/both.pem", 1), "begin acl\n", "begin acl\nopen:\n  accept\n", 1)
	conf = strings.Replace(conf, "tls_privatekey = $D/key.pem\n", "", 1) // it is in the certificate's file
	addresses, ports := make([]string, len(faults)), make([]string, len(faults))
	values := make(map[string]string)
	for i, f := range faults {
		addresses[i] = freeAddress(t)
		ports[i] = port(addresses[i])
		if f.setting == "" {
			continue
		}
		rest := values[f.setting]
		if rest == "" {
			rest = otherwise[f.setting]
		}
		values[f.setting] = fmt.Sprintf("${if eq{$received_port}{%s}{%s}{%s}}", ports[i], f.value, rest)
	}
	var lines []string
	for line := range strings.Lines(conf) {
		name, _, _ := strings.Cut(line, " = ")
		if value, ok := values[name]; ok {
			line = name + " = " + value + "\n"
			delete(values, name)
		}
		lines = append(lines, line)
	}
	for name, value := range values {
		lines = append([]string{name + " = " + value + "\n"}, lines...)
	}
	d := newExim(t, strings.ReplaceAll(strings.Join(lines, ""), "$PORT", strings.Join(ports, " : ")))
	signed(t, "other.example.test", time.Now().Add(time.Hour), d.dir+"/other.pem", d.dir+"/other.key")
	joined(t, d.dir+"/both.pem", d.dir+"/cert.pem", d.dir+"/key.pem")
	joined(t, d.dir+"/other.pem", d.dir+"/other.pem", d.dir+"/other.key")
	d.serves = listening(addresses[len(addresses)-1])
	d.run()
	t.Run("faults", func(t *testing.T) {
		for i, f := range faults {
			t.Run(f.name, func(t *testing.T) {
				t.Parallel()
				found := examined(t, "--remote", addresses[i], "--tls", "starttls", "--hostname", postfixName, "--ca", filepath.Join(d.dir, "cert.pem"), "--user", postfixUser)
				named(t, found, f.name, f.check, f.level, f.text)
			})
		}
	})
}
