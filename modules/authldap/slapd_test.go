package authldap

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/installed"
)

// people is what the directory holds. The last three are alike in what they may not do.
const people = `
dn: dc=example,dc=org
objectClass: dcObject
objectClass: organization
o: Example
dc: example

dn: cn=search,dc=example,dc=org
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: search
userPassword: find it

dn: cn=decoy,dc=example,dc=org
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: decoy
userPassword: nobody knows this

dn: cn=policy,dc=example,dc=org
objectClass: organizationalRole
objectClass: pwdPolicy
cn: policy
pwdAttribute: 2.5.4.35
pwdLockout: TRUE

dn: ou=people,dc=example,dc=org
objectClass: organizationalUnit
ou: people

dn: uid=alice,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
objectClass: inetLocalMailRecipient
uid: alice
cn: Alice
sn: Liddell
mail: alice@example.org
mail: Alice.Liddell@example.org
mailLocalAddress: @alice.example.org
mailLocalAddress: no address
employeeType: staff
departmentNumber: 7
departmentNumber: 42
userPassword: {SSHA}` + aliceSSHA + `

dn: uid=bob,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: bob
cn: Bob
sn: Builder
mail: bob@example.org
userPassword: hunter2

dn: uid=typed,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: typed
cn: Typed
sn: Typed
mail: typed@example.org
userPassword: {SSHA}KtES/O+3ED2mk9Go5E36Ipk6rDZzYWx0c2FsdA==

dn: uid=prepared,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: prepared
cn: Prepared
sn: Prepared
mail: prepared@example.org
userPassword: {SSHA}Rs+XsGEs0n2cLYz7n9+6b0ZLLkxzYWx0c2FsdA==

dn: uid=composed,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: composed
cn: Composed
sn: Composed
mail: composed@example.org
userPassword: {SSHA}yX2WByGKwLue+tvXZc+0BSEC71xzYWx0c2FsdA==

dn: uid=we\,ird\+na#me,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: we,ird+na#me
cn: Weird
sn: Weird
mail: weird@example.org
userPassword: weird

dn: uid=twin1,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: twin1
cn: Twin
sn: Twin
mail: twin@example.org
userPassword: secret

dn: uid=twin2,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: twin2
cn: Twin
sn: Twin
mail: twin@example.org
userPassword: secret

dn: uid=former,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: former
cn: Former
sn: Former
mail: former@example.org
employeeType: former
userPassword: secret

dn: uid=locked,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: locked
cn: Locked
sn: Locked
mail: locked@example.org
userPassword: secret
pwdAccountLockedTime: 000001010000Z

dn: uid=nopassword,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: nopassword
cn: No
sn: Password
mail: nopassword@example.org
`

// aliceSSHA is of "secret".
const aliceSSHA = "gVK8WC9YyFT1gMsQHTGCgT3sSv5zYWx0"

// slapd is OpenLDAP's server, of Debian's package slapd.
type slapd struct {
	dir         string
	ldap, ldaps string // URLs
	ca          string // file
	cmd         *exec.Cmd
	ended       chan struct{}
}

// startSlapd starts a server of its own with the people in it; extra are lines of configuration.
func startSlapd(t testing.TB, extra ...string) *slapd {
	t.Helper()
	program := installed.Need(t, "slapd")
	s := &slapd{dir: t.TempDir()}
	s.certificates(t)
	config := fmt.Sprintf(`
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
include /etc/ldap/schema/misc.schema
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload ppolicy
pidfile %[1]s/slapd.pid
TLSCACertificateFile %[1]s/ca.pem
TLSCertificateFile %[1]s/cert.pem
TLSCertificateKeyFile %[1]s/key.pem
%[2]s
database mdb
maxsize 16777216
suffix dc=example,dc=org
rootdn cn=root,dc=example,dc=org
rootpw root
directory %[1]s/db
overlay ppolicy
ppolicy_default cn=policy,dc=example,dc=org
access to attrs=userPassword by dn.exact=cn=search,dc=example,dc=org read by anonymous auth by * none
access to * by users read by anonymous read
`, s.dir, strings.Join(extra, "\n"))
	s.write(t, "slapd.conf", config)
	s.write(t, "people.ldif", people)
	if err := os.Mkdir(filepath.Join(s.dir, "db"), 0o700); err != nil {
		t.Fatal(err)
	}
	add := exec.Command(program, "-w", "-q", "-f", s.dir+"/slapd.conf", "-l", s.dir+"/people.ldif")
	add.Args[0] = "slapadd"
	if out, err := add.CombinedOutput(); err != nil {
		t.Fatalf("slapadd: %v\n%s", err, out)
	}
	for range 5 { // another may take the ports meanwhile
		s.ldap, s.ldaps = fmt.Sprintf("ldap://127.0.0.1:%d", installed.FreePort(t)), fmt.Sprintf("ldaps://127.0.0.1:%d", installed.FreePort(t))
		if s.run(t) {
			return s
		}
	}
	t.Fatal("slapd does not start")
	return nil
}

func (s *slapd) write(t testing.TB, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// run starts it, on the same ports as before, and waits until it answers.
func (s *slapd) run(t testing.TB) bool {
	t.Helper()
	var out bytes.Buffer
	s.cmd = exec.Command(installed.Need(t, "slapd"), "-d", "0", "-f", s.dir+"/slapd.conf",
		"-h", s.ldap+" "+s.ldaps+" ldapi://"+strings.ReplaceAll(s.dir+"/socket", "/", "%2F"))
	s.cmd.Stdout, s.cmd.Stderr = &out, &out
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended, cmd := make(chan struct{}), s.cmd
	s.ended = ended
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
	})
	for {
		select {
		case <-ended:
			t.Logf("slapd: %s", out.String())
			return false
		case <-time.After(5 * time.Millisecond):
		}
		if c, err := ldap.DialURL(s.ldap); err == nil {
			_, err = c.Search(&ldap.SearchRequest{Filter: "(objectClass=*)"})
			_ = c.Close()
			if err == nil {
				return true
			}
		}
	}
}

func (s *slapd) signal(t testing.TB, sig syscall.Signal) {
	t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

func (s *slapd) kill(t testing.TB) {
	t.Helper()
	s.signal(t, syscall.SIGKILL)
	<-s.ended
}

// stop returns when all of its threads stand still.
func (s *slapd) stop(t testing.TB) {
	t.Helper()
	s.signal(t, syscall.SIGSTOP)
	installed.AwaitStopped(t, s.cmd.Process.Pid)
}

// as runs f on a connection of the directory's master.
func (s *slapd) as(t testing.TB, f func(*ldap.Conn) error) {
	t.Helper()
	c, err := ldap.DialURL(s.ldap)
	if err == nil {
		defer c.Close()
		if err = c.Bind("cn=root,dc=example,dc=org", "root"); err == nil {
			err = f(c)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (s *slapd) set(t testing.TB, uid, attribute string, values ...string) {
	t.Helper()
	s.as(t, func(c *ldap.Conn) error {
		r := ldap.NewModifyRequest("uid="+ldap.EscapeDN(uid)+",ou=people,dc=example,dc=org", nil)
		r.Replace(attribute, values)
		return c.Modify(r)
	})
}

// certificates makes a CA and a certificate for localhost and 127.0.0.1.
func (s *slapd) certificates(t testing.TB) {
	t.Helper()
	caKey, key := newKey(t), newKey(t)
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost", "ldap.example.org"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore:   time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for name, made := range map[string]struct {
		template *x509.Certificate
		key      *ecdsa.PrivateKey
	}{"ca": {ca, caKey}, "cert": {leaf, key}} {
		der, err := x509.CreateCertificate(rand.Reader, made.template, ca, &made.key.PublicKey, caKey)
		if err != nil {
			t.Fatal(err)
		}
		s.write(t, name+".pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	s.write(t, "key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
	s.ca = filepath.Join(s.dir, "ca.pem")
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}
