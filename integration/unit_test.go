package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// boot has systemd run the machine, with nothing but what every machine has. A place where tests run may not allow that, such as a
// container: the test is skipped there, in CI too.
func (m *machine) boot() {
	m.t.Helper()
	nspawn := need(m.t, "systemd-nspawn")
	skip := func(why string) {
		m.t.Helper()
		tell("skipped %s, which needs a place where systemd-nspawn can boot a machine: %s", m.t.Name(), why)
		m.t.Skip(why)
	}
	// Two machines at once would have their services' processes in the same control groups.
	lock, err := os.OpenFile(filepath.Join(os.TempDir(), "caddy-msa-machine.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { _ = lock.Close() })
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		m.t.Fatal(err)
	}
	log := new(logBuffer)
	cmd := exec.Command("nsenter", "--target", m.pid, "--mount", "--net", "--", "sh", "-c", `
		umount "$1/dev" "$1/proc" "$1/run" "$1/tmp" && exec "$0" --directory "$1" --machine "$2" --keep-unit --register=no --boot systemd.unit=basic.target`,
		nspawn, m.root, "msa-"+m.pid)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	outside := m.pid
	m.t.Cleanup(func() {
		// What systemd-nspawn has started outlives it: with its first process the whole machine ends.
		if pid, err := strconv.Atoi(m.pid); err == nil && m.pid != outside {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		_ = cmd.Process.Kill()
		<-ended
	})
	m.enter, m.root = []string{"--all"}, "/"
	for deadline := time.Now().Add(2 * patience); ; time.Sleep(50 * time.Millisecond) {
		select {
		case <-ended:
			skip(log.String())
		default:
		}
		if time.Now().After(deadline) {
			skip("it does not come up: " + log.String())
		}
		children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", cmd.Process.Pid))
		if first := strings.Fields(string(children)); len(first) > 0 {
			m.pid = first[0]
			if state, _ := m.command("systemctl is-system-running").Output(); string(state) == "running\n" || string(state) == "degraded\n" {
				return
			}
		}
	}
}

// Under systemd the package's service is up when systemctl start has returned, reads its secrets, delivers to a program and
// where a drop-in lets it, waits with what cannot be delivered through a restart, a kill and an upgrade, survives a reload
// and an upgrade with a configuration that is refused, keeps secrets out of the journal, and ends in time.
func TestUnitIsRunBySystemd(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	deb := debian(t, "1.0.0")
	m.boot()
	m.copy(deb, "/root/caddy-msa.deb")
	m.sh("dpkg -i /root/caddy-msa.deb")
	m.want("systemctl is-enabled caddy-msa || true", "disabled")
	m.sh(`cat >/etc/caddy-msa/Caddyfile <<'END'
{
	admin unix//run/caddy-msa/admin.sock|0600
	persist_config off
	skip_install_trust

	msa msa.example.test {
		auth {
			file /etc/caddy-msa/users.passwd
		}
		@program recipient_domain program.example
		deliver @program pipe tee /var/lib/caddy-msa/piped
		@elsewhere recipient_domain elsewhere.example
		deliver @elsewhere maildir /srv/msa-mail/{msa.recipient.local}
		deliver relay localhost:2525 {
			auth gateway {file./run/credentials/caddy-msa.service/secrets_relay}
		}
	}
}
END
echo hush-user | caddy-msa msa user alice@example.org --password-stdin --file /etc/caddy-msa/users.passwd
umask 077; echo hush-relay >/etc/caddy-msa/secrets/relay
install -d -o caddy-msa /srv/msa-mail; mkdir -p /etc/systemd/system/caddy-msa.service.d
umask 022; printf '[Service]\nReadWritePaths=/srv/msa-mail\n' >/etc/systemd/system/caddy-msa.service.d/mail.conf; systemctl daemon-reload`)
	m.sh("systemctl enable --now caddy-msa")
	t.Cleanup(func() {
		if t.Failed() {
			out, _ := m.command("journalctl -u caddy-msa -o cat | tail -n 60").CombinedOutput()
			t.Logf("journal:\n%s", out)
		}
	})
	m.want("systemctl is-active caddy-msa", "active")
	m.sh("caddy-msa msa health --config /etc/caddy-msa/Caddyfile")
	m.want("stat -c '%a %U %n' /run/credentials/caddy-msa.service/*", "400 caddy-msa /run/credentials/caddy-msa.service/secrets_relay")

	send := func(to string) bool {
		out, _ := m.command("MSA_PASSWORD=hush-user caddy-msa msa send --server localhost:465 --server-name msa.example.test --ca /var/lib/caddy-msa/caddy/pki/authorities/local/root.crt" +
			" --user alice@example.org --to " + to).CombinedOutput()
		return strings.Contains(string(out), "250 2.0.0 Ok: queued as ")
	}
	await(t, "the certificate", func() bool { return send("bob@program.example") })
	for _, to := range []string{"bob@elsewhere.example", "bob@later.example"} {
		if !send(to) {
			t.Errorf("a message to %s is refused", to)
		}
	}
	for _, file := range []string{"/var/lib/caddy-msa/piped", "/srv/msa-mail/bob/new/*"} {
		await(t, file, func() bool { return m.command("grep -q ^From: "+file).Run() == nil })
	}
	waits := func() {
		t.Helper()
		await(t, "the message to wait still", func() bool {
			out, _ := m.command("caddy-msa msa queue list --config /etc/caddy-msa/Caddyfile").Output()
			return strings.Contains(string(out), "bob@later.example")
		})
	}
	waits()

	m.sh("systemctl reload caddy-msa")
	m.sh("systemctl restart caddy-msa")
	waits()
	pid := m.sh("systemctl show -p MainPID --value caddy-msa")
	m.sh("systemctl kill -s KILL caddy-msa")
	await(t, "the next process", func() bool {
		out, _ := m.command("systemctl show -p ActiveState -p MainPID --value caddy-msa").Output()
		return strings.Contains(string(out), "active\n") && !strings.Contains(string(out), "activating") && !strings.Contains("\n"+string(out), "\n"+pid+"\n")
	})
	waits()

	// A refused configuration: a reload leaves the one before in force; an upgrade is complete all the same.
	m.sh("cp /etc/caddy-msa/Caddyfile /root; echo '{ nonsense' >>/etc/caddy-msa/Caddyfile")
	if err := m.command("systemctl reload caddy-msa").Run(); err == nil {
		t.Error("a refused configuration is reloaded without an error")
	}
	m.want("systemctl is-active caddy-msa", "active")
	if out := m.sh("dpkg -i --force-confold /root/caddy-msa.deb"); !strings.Contains(out, "journalctl -u caddy-msa") {
		t.Error(out)
	}
	m.want("dpkg-query -W -f '${Status}' caddy-msa", "install ok installed")
	m.sh("cp /root/Caddyfile /etc/caddy-msa/Caddyfile")
	await(t, "systemd to have started it", func() bool {
		return m.command("systemctl is-active caddy-msa && caddy-msa msa health --config /etc/caddy-msa/Caddyfile").Run() == nil
	})
	waits()

	m.want("journalctl -u caddy-msa -o cat | grep -ac -e hush- -e XDG_DATA_HOME || true", "0")
	out := m.sh("systemd-analyze security --no-pager caddy-msa | sed -n 's/.*Overall exposure level for caddy-msa.service: \\([0-9.]*\\).*/\\1/p'")
	if level, err := strconv.ParseFloat(out, 64); err != nil || level > 3 {
		t.Errorf("the exposure is %s", out)
	}
	m.sh("systemctl stop caddy-msa")
	m.want("systemctl show -p Result -p ExecMainStatus caddy-msa", "Result=success\nExecMainStatus=0")
	m.sh("dpkg -r caddy-msa")
	m.want("systemctl is-active caddy-msa || true", "inactive")
}
