//go:build linux

package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// dovecotConf makes Dovecot the checker of passwords for Postfix, and no more.
const dovecotConf = `
base_dir = $DIR/run
log_path = $DIR/dovecot.log
protocols =
listen = 127.0.0.1
ssl = no
auth_mechanisms = plain
disable_plaintext_auth = no
passdb {
  driver = passwd-file
  args = username_format=%u $DIR/users
}
userdb {
  driver = static
  args = uid=nobody gid=nogroup home=/nonexistent
}
service auth {
  client_limit = 4096
  unix_listener $DIR/auth {
    user = postfix
    mode = 0600
  }
}
service anvil {
  client_limit = 4096
}
`

// mainCf makes Postfix a submission server that relays all to the sink, with what
// would slow a single client down switched off.
const mainCf = `
compatibility_level = 3.6
queue_directory = $DIR/queue
data_directory = $DIR/data
maillog_file = $DIR/maillog
maillog_file_prefixes = $DIR
myhostname = localhost.example
inet_interfaces = loopback-only
inet_protocols = ipv4
mydestination =
mynetworks =
alias_maps =
local_recipient_maps =
relayhost = $RELAYHOST
smtp_dns_support_level = disabled
smtp_tls_security_level = none
smtpd_tls_security_level = encrypt
smtpd_tls_chain_files = $KEY, $CERT
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = $DIR/auth
smtpd_relay_restrictions = permit_sasl_authenticated, reject
smtpd_client_connection_count_limit = 0
smtpd_error_sleep_time = 0
default_process_limit = 200
in_flow_delay = 0
message_size_limit = 104857600
`

// masterCf lists Postfix's services: name type private unprivileged chroot wakeup
// limit command. Everything but the listening one is as shipped, without chroot.
const masterCf = `
$ADDR      inet  n  -  n  -      1000  smtpd
pickup     unix  n  -  n  60     1     pickup
cleanup    unix  n  -  n  -      0     cleanup
qmgr       unix  n  -  n  300    1     qmgr
tlsmgr     unix  -  -  n  1000?  1     tlsmgr
rewrite    unix  -  -  n  -      -     trivial-rewrite
bounce     unix  -  -  n  -      0     bounce
defer      unix  -  -  n  -      0     bounce
trace      unix  -  -  n  -      0     bounce
verify     unix  -  -  n  -      1     verify
flush      unix  n  -  n  1000?  0     flush
proxymap   unix  -  -  n  -      -     proxymap
smtp       unix  -  -  n  -      -     smtp
relay      unix  -  -  n  -      -     smtp
error      unix  -  -  n  -      -     error
retry      unix  -  -  n  -      -     error
anvil      unix  -  -  n  -      1     anvil
scache     unix  -  -  n  -      1     scache
postlog    unix-dgram n - n -    1     postlogd
`

// tool finds a program, also where only root's PATH leads.
func tool(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/" + name)
	}
	if err != nil {
		return "", fmt.Errorf("%s is not installed", name)
	}
	return path, nil
}

// startPostfix runs Postfix with Dovecot. An error says what is missing.
func (b *bench) startPostfix() (*target, error) {
	if slices.Contains(b.without, "postfix") {
		return nil, errLeftOut
	}
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("needs root")
	}
	postfix, err := tool("postfix")
	if err != nil {
		return nil, err
	}
	dovecot, err := tool("dovecot")
	if err != nil {
		return nil, err
	}
	if version, err := exec.Command(dovecot, "--version").Output(); err != nil || !strings.HasPrefix(string(version), "2.3.") {
		return nil, fmt.Errorf("needs Dovecot 2.3, whose configuration this is; there is %s", strings.TrimSpace(string(version)))
	}
	t := &target{name: "Postfix", relays: true}
	if t.dir, err = b.directory("postfix"); err != nil {
		return nil, err
	}
	if t.addr, err = freeAddr(); err != nil {
		return nil, err
	}
	if err := b.writePostfix(t); err != nil {
		return nil, err
	}
	if err := daemon(t.dir, dovecot, "-c", t.dir+"/dovecot.conf"); err != nil {
		return nil, err
	}
	t.stop = func() {
		_ = exec.Command(postfix, "-c", t.dir+"/etc", "stop").Run()
		_ = exec.Command("doveadm", "-c", t.dir+"/dovecot.conf", "stop").Run()
	}
	if err := daemon(t.dir, postfix, "-c", t.dir+"/etc", "start"); err != nil {
		t.stop()
		return nil, err
	}
	for since := time.Now(); !greets(t.addr); time.Sleep(20 * time.Millisecond) {
		if time.Since(since) > startWait {
			t.stop()
			log, _ := os.ReadFile(t.dir + "/maillog")
			return nil, fmt.Errorf("postfix does not answer:\n%s", log)
		}
	}
	for _, name := range []string{"queue/pid/master.pid", "run/master.pid"} {
		text, err := os.ReadFile(filepath.Join(t.dir, name))
		if err != nil {
			t.stop()
			return nil, err
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil {
			t.stop()
			return nil, err
		}
		t.roots = append(t.roots, pid)
	}
	return t, nil
}

// daemon starts a server that goes to the background. Its output is a file, since a
// pipe would stay open, and waited for, as long as the server lives.
func daemon(dir, name string, args ...string) error {
	output := filepath.Join(dir, filepath.Base(name)+".output")
	out, err := os.Create(output)
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Run(); err != nil {
		text, _ := os.ReadFile(output)
		return fmt.Errorf("%s: %w: %s", filepath.Base(name), err, text)
	}
	return nil
}

// writePostfix writes the configuration of both.
func (b *bench) writePostfix(t *target) error {
	for _, dir := range []string{"etc", "queue", "data", "run"} {
		if err := os.Mkdir(filepath.Join(t.dir, dir), 0o755); err != nil {
			return err
		}
	}
	if out, err := exec.Command("chown", "postfix", t.dir+"/data").CombinedOutput(); err != nil {
		return fmt.Errorf("chown: %w: %s", err, out)
	}
	host, port, err := net.SplitHostPort(b.sinkAddr)
	if err != nil {
		return err
	}
	fill := strings.NewReplacer("$DIR", t.dir, "$ADDR", t.addr, "$CERT", b.cert, "$KEY", b.key, "$RELAYHOST", "["+host+"]:"+port)
	for name, text := range map[string]string{
		"dovecot.conf": dovecotConf, "etc/main.cf": mainCf, "etc/master.cf": masterCf,
		"users": user + ":{SHA512-CRYPT}" + hash + "\n",
	} {
		if err := os.WriteFile(filepath.Join(t.dir, name), []byte(fill.Replace(text)), 0o644); err != nil {
			return err
		}
	}
	return nil
}
