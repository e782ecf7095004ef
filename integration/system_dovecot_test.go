package integration

import (
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const dovecotOfMaildirs = `base_dir = $DIR/run
state_dir = $DIR/run
log_path = /dev/stderr
protocols = imap pop3
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
default_internal_user = $INTERNAL
default_internal_group = $GROUP
default_login_user = $LOGIN
first_valid_uid = 1
first_valid_gid = 1
mail_location = maildir:$DIR/mail/%d/%n/Maildir
pop3_uidl_format = %f
passdb {
  driver = static
  args = password=secret
}
userdb {
  driver = static
  args = uid=$UID gid=$GID home=$DIR
}
service imap-login {
  chroot =
  inet_listener imap {
    port = $IMAP
  }
  inet_listener imaps {
    port = 0
  }
}
service pop3-login {
  chroot =
  inet_listener pop3 {
    port = $POP3
  }
  inet_listener pop3s {
    port = 0
  }
}
service anvil {
  chroot =
}
service stats {
  chroot =
}
`

// maildirs is a Dovecot that serves Maildirs; every password is secret.
type maildirs struct{ pop3, imap string }

// serveMaildirs starts one for those below dir/mail. As root it gives them to the user
// who may read them, for Dovecot reads no mail as root.
func serveMaildirs(t *testing.T, dir string) maildirs {
	t.Helper()
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	group, err := user.LookupGroupId(me.Gid)
	if err != nil {
		t.Fatal(err)
	}
	reader, internal, internalGroup, login := me, me.Username, group.Name, me.Username
	if os.Getuid() == 0 {
		internal, internalGroup, login = "dovecot", "dovecot", "dovenull"
		if reader, err = user.Lookup("mail"); err != nil {
			t.Fatal(err)
		}
		uid, _ := strconv.Atoi(reader.Uid)
		gid, _ := strconv.Atoi(reader.Gid)
		if err := filepath.WalkDir(dir+"/mail", func(path string, _ fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			return os.Lchown(path, uid, gid)
		}); err != nil {
			t.Fatal(err)
		}
	}
	d := maildirs{pop3: freeAddress(t), imap: freeAddress(t)}
	config := strings.NewReplacer("$DIR", dir, "$INTERNAL", internal, "$GROUP", internalGroup, "$LOGIN", login, "$UID", reader.Uid,
		"$GID", reader.Gid, "$IMAP", port(d.imap), "$POP3", port(d.pop3)).Replace(dovecotOfMaildirs)
	if err := os.WriteFile(dir+"/dovecot.conf", []byte(config), 0o644); err != nil { //nolint:gosec // no secret
		t.Fatal(err)
	}
	log := new(logBuffer)
	cmd := exec.Command(need(t, "dovecot"), "-F", "-c", dir+"/dovecot.conf")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = 5 * time.Second // its children have the log too
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("Dovecot said:\n%s", log)
		}
	})
	return d
}
