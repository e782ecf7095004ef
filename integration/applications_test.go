package integration

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"gopkg.in/mail.v2"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/installed"
)

// application is a program that sends mail of its own making, set up as docs/clients.md says.
type application struct {
	name, peer string
	mechanism  string // that it picks
	implicit   bool   // it knows TLS from the first byte, whatever the port
	try        func(t *testing.T, program string, a attempt) (string, error)
}

var applications = []application{
	{"WordPress", "wordpress", "LOGIN", true, func(_ *testing.T, program string, a attempt) (string, error) {
		return a.script(exec.Command("env", "WORDPRESS="+installed.WordPressDir, program, "clients/wordpress.php"))
	}},
	{"GitLab (Ruby's mail)", "ruby-mail", "LOGIN", true, func(_ *testing.T, program string, a attempt) (string, error) {
		return a.script(exec.Command(program, "clients/rubymail.rb"))
	}},
	{"FairEmail, Jenkins (JavaMail)", "javamail", "LOGIN", true, tryJavaMail},
	{"Grafana (mail.v2)", "", "PLAIN", true, tryMailV2},
	{"Alertmanager", "alertmanager", "PLAIN", false, tryAlertmanager},
}

// tryJavaMail gives Java a file of hosts and a store of whom to trust.
func tryJavaMail(t *testing.T, program string, a attempt) (string, error) {
	dir := t.TempDir()
	trust, hosts := filepath.Join(dir, "trust"), filepath.Join(dir, "hosts")
	keytool := exec.Command(filepath.Join(filepath.Dir(program), "keytool"), "-J-XX:TieredStopAtLevel=1", "-importcert", "-noprompt", "-keystore", trust, "-storepass", "changeit", "-file", a.ca)
	if out, err := keytool.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	writeFile(t, hosts, "127.0.0.1 "+a.name+"\n")
	return a.script(exec.Command(program, "-XX:TieredStopAtLevel=1", "-cp", installed.JavaMailPath, "-Djdk.net.hosts.file="+hosts,
		"-Djavax.net.ssl.trustStore="+trust, "-Djavax.net.ssl.trustStorePassword=changeit", "org.mozilla.javascript.tools.shell.Main", "-opt", "-1", "clients/javamail.js"))
}

// tryMailV2 is the library that Grafana sends with, set up as Grafana does.
func tryMailV2(t *testing.T, _ string, a attempt) (string, error) {
	n, _ := strconv.Atoi(a.port())
	d := mail.NewDialer("127.0.0.1", n, a.user, a.password)
	d.SSL, d.StartTLSPolicy, d.LocalName, d.Timeout = a.implicit, mail.MandatoryStartTLS, "client.example", patience
	d.TLSConfig = &tls.Config{ServerName: a.name, RootCAs: poolOf(t, a.ca)}
	m := mail.NewMessage()
	m.SetHeader("From", a.from)
	m.SetHeader("To", a.to)
	m.SetHeader("Subject", "An application writes")
	m.SetBody("text/plain", "The disk is nearly full.\n")
	err := d.DialAndSend(m)
	return fmt.Sprint(err), err
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// tryAlertmanager has it told of an alert, and says what it logs until it has notified or failed to.
func tryAlertmanager(t *testing.T, program string, a attempt) (string, error) {
	dir, address := t.TempDir(), freeAddress(t)
	writeFile(t, filepath.Join(dir, "password"), a.password)
	writeFile(t, filepath.Join(dir, "config.yml"), fmt.Sprintf(`global:
  smtp_smarthost: %s
  smtp_from: %s
  smtp_auth_username: %s
  smtp_auth_password_file: %s/password
  smtp_hello: client.example
route:
  receiver: mail
  group_wait: 0s
receivers:
- name: mail
  email_configs:
  - {to: %s, headers: {Subject: An application writes}, tls_config: {ca_file: %s, server_name: %s}}
`, a.address, a.from, a.user, dir, a.to, a.ca, a.name))
	log := new(logBuffer)
	cmd := exec.Command(program, "--config.file", filepath.Join(dir, "config.yml"), "--storage.path", dir, "--web.listen-address", address, "--cluster.listen-address=", "--log.level=debug")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	await(t, "Alertmanager to take an alert", func() bool {
		resp, err := http.Post("http://"+address+"/api/v2/alerts", "application/json", strings.NewReader(`[{"labels": {"alertname": "Down"}}]`))
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	await(t, "Alertmanager to notify", func() bool {
		return strings.Contains(log.String(), "Notify success") || strings.Contains(log.String(), "Notify attempt failed")
	})
	if strings.Contains(log.String(), "Notify attempt failed") {
		return log.String(), fmt.Errorf("it failed")
	}
	return log.String(), nil
}

// The applications of docs/clients.md submit on both ports, having checked the certificate, and report what is refused.
func TestApplications(t *testing.T) {
	t.Parallel()
	for _, app := range applications {
		t.Run(app.name, func(t *testing.T) {
			t.Parallel()
			program := ""
			if app.peer != "" {
				program = need(t, app.peer)
			}
			s := start(t, layout{global: "debug", auth: "auth {\n\t\tmechanisms SCRAM-SHA-256 DIGEST-MD5 PLAIN LOGIN\n\t\tfile $DIR/users.passwd\n\t\tthrottle off\n\t}"})
			stranger := filepath.Join(s.dir, "stranger.pem")
			selfSigned(t, hostname, stranger, filepath.Join(s.dir, "stranger.key"))
			for _, implicit := range []bool{false, true} {
				if implicit && !app.implicit {
					continue
				}
				good := s.attempt(implicit, "", portName(implicit)+"@example.net")
				out, err := app.try(t, program, good)
				if err != nil {
					t.Fatalf("%s: %v\n%s", portName(implicit), err, out)
				}
				if m := string(s.mail(good.to, 1)[0]); !strings.Contains(m, "\r\nSubject: An application writes\r\n") {
					t.Errorf("%s: delivered was\n%s", portName(implicit), m)
				}
				s.await("its log-in by "+app.mechanism, func() bool { return strings.Contains(s.log.String(), `"mechanism":"`+app.mechanism+`"`) })
				wrong := good
				wrong.password, wrong.to = "wrong", "refused@example.net"
				if out, err := app.try(t, program, wrong); err == nil || !strings.Contains(out, "535") {
					t.Errorf("%s, a wrong password: %v\n%s", portName(implicit), err, out)
				}
				wrong = good
				wrong.ca, wrong.to = stranger, "refused@example.net"
				if out, err := app.try(t, program, wrong); err == nil {
					t.Errorf("%s, another CA: it sent\n%s", portName(implicit), out)
				}
			}
			if left, _ := filepath.Glob(filepath.Join(s.dir, "mail/example.net/refused/new/*")); len(left) > 0 {
				t.Errorf("%q were delivered", left)
			}
		})
	}
}
