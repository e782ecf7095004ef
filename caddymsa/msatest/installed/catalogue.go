package installed

import "strings"

// Program is a client or server that tests talk to.
type Program struct {
	Program string   // its file's name
	By      string   // a program beside it that is run in its place, where it has no run to show
	Package string   // the Debian package that has it
	Dirs    []string // where it may be beside the path; patterns
	Args    []string // of a run that shows that it works
	Env     []string // of that run
	Says    []string // what the run prints, each of these
	Files   []string // what must be there beside it
}

// NodePath is where Debian's packages of Node are.
const NodePath = "NODE_PATH=/usr/share/nodejs"

// JavaMailPath are the archives of JavaMail and of Rhino, which runs scripts in Java.
const JavaMailPath = "/usr/share/java/js.jar:/usr/share/java/javax.mail.jar:/usr/share/java/javax.activation.jar"

// WordPressDir is where .ci/run unpacks WordPress, of which no web server is needed.
const WordPressDir = "/usr/local/lib/msa-wordpress"

// NPMPath is where .ci/run installs packages of npm.
const NPMPath = "NODE_PATH=/usr/local/lib/msa-npm/node_modules"

// NPMPackage is where one of them is.
func NPMPackage(name string) string { return strings.TrimPrefix(NPMPath, "NODE_PATH=") + "/" + name }

// EximDir is where .ci/run unpacks Exim, which cannot be installed beside Postfix.
const EximDir = "/usr/local/lib/msa-exim"

// catalogue of programs by the names that tests ask for.
var catalogue = map[string]Program{
	"alertmanager":       {Program: "prometheus-alertmanager", Package: "prometheus-alertmanager", Args: []string{"--version"}, Says: []string{"alertmanager, version"}},
	"axe":                {Program: "node", Package: "npm's playwright-core and axe-core (installed by .ci/run)", Args: []string{"-e", `require("playwright-core"); require("axe-core"); console.log("both are there")`}, Env: []string{NPMPath}, Says: []string{"both are there"}},
	"chromium":           {Program: "chromium-headless-shell", Package: "chromium-headless-shell", Dirs: []string{"/usr/lib/chromium"}, Args: []string{"--version"}, Says: []string{"Chromium"}},
	"clamav-milter":      {Program: "clamav-milter", Package: "clamav-milter", Args: []string{"--version"}, Says: []string{"clamav-milter"}},
	"clamd":              {Program: "clamd", Package: "clamav-daemon", Args: []string{"--version"}, Says: []string{"ClamAV"}},
	"curl":               {Program: "curl", Package: "curl", Args: []string{"--version"}, Says: []string{"curl", "smtps", "SSL"}},
	"doveadm":            {Program: "doveadm", Package: "dovecot-core", Args: []string{"pw", "-s", "SHA512-CRYPT", "-p", "x"}, Says: []string{"{SHA512-CRYPT}$6$"}},
	"dovecot":            dovecot("dovecot-core", "auth"),
	"dovecot-imapd":      dovecot("dovecot-imapd", "imap"),
	"dovecot-lmtpd":      dovecot("dovecot-lmtpd", "lmtp"),
	"dovecot-pop3d":      dovecot("dovecot-pop3d", "pop3"),
	"env":                {Program: "env", Package: "coreutils", Args: []string{"A=peer"}, Says: []string{"A=peer"}},
	"exim":               {Program: "exim4", Package: "exim4-daemon-light (unpacked by .ci/run)", Dirs: []string{EximDir + "/usr/sbin"}, Args: []string{"-bV"}, Says: []string{"Exim version"}},
	"fail2ban-regex":     {Program: "fail2ban-regex", Package: "fail2ban", Args: []string{"--version"}, Says: []string{"fail2ban-regex"}},
	"gsasl":              {Program: "gsasl", Package: "gsasl", Args: []string{"--version"}, Says: []string{"GNU SASL"}},
	"haproxy":            {Program: "haproxy", Package: "haproxy", Args: []string{"-v"}, Says: []string{"HAProxy version"}, Dirs: []string{"/usr/sbin"}},
	"initdb":             {Program: "initdb", Package: "postgresql", Dirs: []string{"/usr/lib/postgresql/*/bin"}, Args: []string{"--version"}, Says: []string{"PostgreSQL"}},
	"ldapmodify":         {Program: "ldapmodify", Package: "ldap-utils", Args: []string{"-VV"}, Says: []string{"ldapmodify"}},
	"javamail":           {Program: "java", Package: "default-jre-headless libmail-java librhino-java", Args: []string{"-cp", JavaMailPath, "org.mozilla.javascript.tools.shell.Main", "-e", `Packages.javax.mail.Session.getInstance(new java.util.Properties()); print("javamail works")`}, Says: []string{"javamail works"}},
	"mariadb-install-db": {Program: "mariadb-install-db", Package: "mariadb-server", Args: []string{"--help"}, Says: []string{"--datadir"}},
	"mariadbd":           {Program: "mariadbd", Package: "mariadb-server", Args: []string{"--no-defaults", "--version"}, Says: []string{"MariaDB"}},
	"msmtp":              {Program: "msmtp", Package: "msmtp", Args: []string{"--version"}, Says: []string{"msmtp version", "TLS/SSL library", "GNU SASL"}},
	"node":               {Program: "node", Package: "nodejs", Args: []string{"-e", `new Request("http://a.example/"); console.log("fetch works")`}, Says: []string{"fetch works"}},
	"nodemailer":         {Program: "node", Package: "node-nodemailer", Args: []string{"-e", `require("nodemailer").createTransport({}); console.log("nodemailer works")`}, Env: []string{NodePath}, Says: []string{"nodemailer works"}},
	"opendkim":           {Program: "opendkim", Package: "opendkim", Args: []string{"-V"}, Says: []string{"OpenDKIM Filter"}},
	"openssl":            {Program: "openssl", Package: "openssl", Args: []string{"version"}, Says: []string{"OpenSSL"}},
	"perl-mime":          {Program: "perl", Package: "libemail-mime-perl libmime-tools-perl", Args: []string{"-MEmail::MIME", "-MMIME::Parser", "-e", `print "perl works"`}, Says: []string{"perl works"}},
	"postfix":            {Program: "postfix", Package: "postfix", By: "postconf", Args: []string{"-d", "mail_version"}, Says: []string{"mail_version = "}, Files: []string{"/usr/lib/postfix/sbin/master"}},
	"prometheus":         {Program: "prometheus", Package: "prometheus", Args: []string{"--version"}, Says: []string{"prometheus, version"}},
	"promtool":           {Program: "promtool", Package: "prometheus", Args: []string{"--version"}, Says: []string{"promtool, version"}},
	"python3":            {Program: "python3", Package: "python3", Args: []string{"-c", `import email, json, smtplib, ssl; print("python works")`}, Says: []string{"python works"}},
	"python3-dkim":       {Program: "python3", Package: "python3-dkim python3-nacl", Args: []string{"-c", `import dkim, nacl; print("dkim works")`}, Says: []string{"dkim works"}},
	"python3-requests":   {Program: "python3", Package: "python3-requests", Args: []string{"-c", `import requests; print("requests works")`}, Says: []string{"requests works"}},
	"redis-server":       {Program: "redis-server", Package: "redis-server", Args: []string{"--version"}, Says: []string{"Redis server"}},
	"rspamd":             {Program: "rspamd", Package: "rspamd", Args: []string{"--version"}, Says: []string{"Rspamd"}},
	"ruby-mail":          {Program: "ruby", Package: "ruby-mail", Args: []string{"-e", `require "mail"; require "net/smtp"; puts "ruby mail works"`}, Says: []string{"ruby mail works"}},
	"slapd":              {Program: "slapd", Package: "slapd", Dirs: []string{"/usr/local/libexec", "/usr/libexec"}, Args: []string{"-VV"}, Says: []string{"OpenLDAP"}},
	"smtptest":           {Program: "smtptest", Package: "cyrus-clients", Dirs: []string{"/usr/lib/cyrus/bin"}, Args: []string{"-h"}, Says: []string{"Usage: smtptest"}},
	"strace":             {Program: "strace", Package: "strace", Args: []string{"-V"}, Says: []string{"strace -- version"}},
	"dockerfilelint":     {Program: "node", Package: "npm's dockerfilelint (installed by .ci/run)", Args: []string{"-e", `require("dockerfilelint"); console.log("dockerfilelint works")`}, Env: []string{NPMPath}, Says: []string{"dockerfilelint works"}},
	"standardwebhooks":   {Program: "node", Package: "npm's standardwebhooks (installed by .ci/run)", Args: []string{"-e", `require("standardwebhooks").Webhook; console.log("standardwebhooks works")`}, Env: []string{NPMPath}, Says: []string{"standardwebhooks works"}},
	"systemd-nspawn":     {Program: "systemd-nspawn", Package: "systemd-container", Args: []string{"--version"}, Says: []string{"systemd 2"}},
	// Without Net::SSLeay swaks knows no TLS; without Digest::HMAC_MD5 it dies at DIGEST-MD5.
	"swaks":           {Program: "swaks", Package: "swaks libnet-ssleay-perl", Args: []string{"--support"}, Says: []string{"=== Basic AUTH supported", "=== TLS supported"}},
	"thunderbird":     {Program: "thunderbird", Package: "thunderbird", Args: []string{"--version"}, Says: []string{"Thunderbird"}},
	"systemd-analyze": {Program: "systemd-analyze", Package: "systemd", Args: []string{"--version"}, Says: []string{"systemd 2"}},
	"wordpress":       {Program: "php", Package: "php-cli wordpress (unpacked by .ci/run)", Args: []string{"-r", `echo "PHP ", PHP_VERSION;`}, Says: []string{"PHP "}, Files: []string{WordPressDir + "/wp-includes/pluggable.php"}},
	"xmldom":          {Program: "node", Package: "node-xmldom", Args: []string{"-e", `new (require("@xmldom/xmldom").DOMParser)(); console.log("xmldom works")`}, Env: []string{NodePath}, Says: []string{"xmldom works"}},
}

// dovecot is Dovecot with one of its programs, which are of packages of their own.
func dovecot(debianPackage, program string) Program {
	return Program{Program: "dovecot", Package: debianPackage, Args: []string{"--version"}, Says: []string{"2.3."}, Files: []string{"/usr/lib/dovecot/" + program}}
}
