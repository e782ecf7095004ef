package authsql

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/installed"
	"github.com/caddy-msa/caddy-msa/caddymsa/passwd"
	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
)

var peer = caddymsa.Peer{IP: netip.MustParseAddr("127.0.0.1")}

// lightDecoy is checked at little cost, where the default takes a while and 19 MiB to make.
const lightDecoy = "{PLAIN}decoy"

// provision loads the module as a configuration would; with a light decoy, unless a test has given one, or none (an empty list) for the default.
func provision(t testing.TB, s *SQL) (*SQL, error) {
	t.Helper()
	if _, measures := t.(*testing.B); !measures && s.Decoy == nil {
		s.Decoy = []string{lightDecoy}
	}
	s.Timeout = cmp.Or(s.Timeout, conf.Duration(time.Minute)) // a busy machine does not keep the default of 5 seconds
	err := s.Provision(msatest.Context(t))
	t.Cleanup(func() { _ = s.Cleanup() })
	return s, err
}

func must(t testing.TB, s *SQL) *SQL {
	t.Helper()
	if _, err := provision(t, s); err != nil {
		t.Fatal(err)
	}
	return s
}

func generate(t testing.TB, scheme, name, password string) string {
	t.Helper()
	if scheme == "SCRAM-SHA-256" {
		return msatest.StoredSCRAM(t, password)
	}
	c, err := passwd.Generate(scheme, name, password, passwd.Options{Rounds: map[string]int{"SHA512-CRYPT": 1000}[scheme]})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// insert puts a user into the default table; question is how the database writes a parameter.
func insert(t testing.TB, db *sql.DB, driver, name, password, addresses, nets string, disabled bool) {
	t.Helper()
	statement := "INSERT INTO msa_users (username, password, addresses, allow_nets, disabled) VALUES (?, ?, ?, ?, ?)"
	if driver == "postgres" {
		statement = "INSERT INTO msa_users (username, password, addresses, allow_nets, disabled) VALUES ($1, $2, $3, $4, $5)"
	}
	if _, err := db.Exec(statement, name, password, addresses, nets, disabled); err != nil {
		t.Fatal(err)
	}
}

func execute(t testing.TB, db *sql.DB, statements ...string) {
	t.Helper()
	for _, s := range statements {
		if _, err := db.Exec(s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

// hostile are names that want to be more than a name.
var hostile = []string{
	"' OR '1'='1", `" OR "1"="1`, `"; DROP TABLE msa_users; --`, "'; DROP TABLE msa_users; --", `\' OR 1=1 -- `, `\`, `\\`, "a\x00b", "\x00",
	"alice@example.org\x00", "’ OR ’1’=’1", "ʼ OR 1=1", "＇ OR 1=1", "%", "_lice@example.org", "alice@example.org ", " alice@example.org",
	"álice@example.org", "{user}", "$1", "?1", "?", ":user", "alice@example.org/*", "\xbf' OR 1=1 -- ", "\xff", "😀", "Ⅷ@example.org",
	"alice@example.org\n", "alice@example.org;SELECT pg_sleep(10)", "@", "@@", "@example.org", "alice@",
}

// conform runs what every database has to do, with the default table, which may be empty.
func conform(t *testing.T, db *sql.DB, s *SQL) {
	d := s.Driver
	const realm = "msa.example.org"
	clear, hash, key := "clear@example.org", "alice@example.org", "scram@example.org"
	insert(t, db, d, clear, "{PLAIN}secret: with: colons", "", "", false)
	insert(t, db, d, hash, generate(t, "SHA512-CRYPT", hash, "s3cret")+" "+generate(t, "DIGEST-MD5.realm="+realm, hash, "s3cret"), "a@example.net, @example.com", "", false)
	insert(t, db, d, key, generate(t, "SCRAM-SHA-256", key, "hunter2")+" "+generate(t, "DIGEST-MD5", key, "hunter2"), "", "127.0.0.0/8", false)
	insert(t, db, d, "off@example.org", "{PLAIN}secret", "", "", true)
	insert(t, db, d, "locked@example.org", "!", "", "", false)
	insert(t, db, d, "far@example.org", "{PLAIN}secret", "", "192.0.2.0/24", false)
	insert(t, db, d, "o'hara@example.org", "{PLAIN}secret", "", "", false)
	insert(t, db, d, `back\slash`, "{PLAIN}secret", "", "", false)
	insert(t, db, d, "jürgen@example.org", "{PLAIN}secret", "", "", false)
	insert(t, db, d, "broken@example.org", "{ROT13}secret", "", "", false)

	//
	t.Run("conformance", func(t *testing.T) {
		msatest.Auth(t, s,
			msatest.User{Name: clear, Password: "secret: with: colons", DigestUser: clear, Realm: realm, SCRAM: true},
			msatest.User{Name: clear, Password: "secret: with: colons", DigestUser: "clear", Realm: "example.org", SCRAM: true},
			msatest.User{Name: hash, Password: "s3cret", DigestUser: hash, Realm: realm},
			msatest.User{Name: key, Password: "hunter2", DigestUser: "scram", Realm: "example.org", SCRAM: true},
			msatest.User{Name: "o'hara@example.org", Password: "secret", SCRAM: true},
			msatest.User{Name: `back\slash`, Password: "secret", SCRAM: true},
			msatest.User{Name: "jürgen@example.org", Password: "secret", SCRAM: true})
	})
	ctx := context.Background()
	t.Run("identity", func(t *testing.T) {
		id, err := s.VerifyPassword(ctx, peer, hash, "s3cret")
		if err != nil || id.User != hash || len(id.Addresses) != 2 || id.Fingerprint == "" {
			t.Errorf("%+v, %v", id, err)
		}
	})
	t.Run("tariff", func(t *testing.T) { tariff(t, db, s, hash, "s3cret") })
	t.Run("refused", func(t *testing.T) {
		for _, name := range append([]string{"off@example.org", "locked@example.org", "far@example.org"}, hostile...) {
			unknown(t, s, name, "secret")
		}
		var users int
		if err := db.QueryRow("SELECT count(*) FROM msa_users").Scan(&users); err != nil || users != 10 {
			t.Error("the table has now", users, err)
		}
	})
	t.Run("statements", func(t *testing.T) {
		execute(t, db, statements[s.Driver], statements[s.Driver])
		if id, err := s.VerifyPassword(ctx, peer, `it\'s`, `s3\'cret`); err != nil || len(id.Addresses) != 2 {
			t.Error(id, err)
		}
	})
	t.Run("unreadable", func(t *testing.T) {
		if _, err := s.VerifyPassword(ctx, peer, "broken@example.org", "secret"); err == nil || errors.Is(err, caddymsa.ErrCredentials) {
			t.Error("a row that cannot be read:", err)
		}
	})
	t.Run("app passwords", func(t *testing.T) { appPasswords(t, db, s) })
	t.Run("users", func(t *testing.T) { users(t, db, s) })
	t.Run("application passwords alone", func(t *testing.T) { appPasswordsAlone(t, s) })
	t.Run("changes", func(t *testing.T) {
		before, err := s.Lookup(ctx, peer, clear)
		if err != nil {
			t.Fatal(err)
		}
		revision := s.Revision()
		execute(t, db, "UPDATE msa_users SET password = '{PLAIN}changed' WHERE username = 'clear@example.org'")
		after, err := s.Lookup(ctx, peer, clear)
		if err != nil || after.Fingerprint == before.Fingerprint || s.Revision() == revision {
			t.Error("another password shows nowhere:", err)
		}
		unknown(t, s, clear, "secret: with: colons")
		execute(t, db, "DELETE FROM msa_users WHERE username = 'clear@example.org'")
		unknown(t, s, clear, "changed")
	})
}

// unknown wants a refusal by each interface.
const appTable = `CREATE TABLE msa_app_passwords (
	username   VARCHAR(255) COLLATION NOT NULL,
	label      VARCHAR(63) NOT NULL,
	password   VARCHAR(1000) NOT NULL,
	expires    VARCHAR(32),
	allow_nets VARCHAR(1000),
	PRIMARY KEY (username, label)
)`

// appPasswords are in a table of their own.
func appPasswords(t *testing.T, db *sql.DB, s *SQL) {
	own, apps := msatest.StoredApps(t)
	collation := ""
	if s.Driver == "mysql" { // which compares columns of one collation only
		collation = "CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci"
	}
	var before string
	if err := db.QueryRow("SELECT password FROM msa_users WHERE username = '" + msatest.AppUser + "'").Scan(&before); err != nil {
		t.Fatal(err)
	}
	defer execute(t, db, "UPDATE msa_users SET password = '"+before+"' WHERE username = '"+msatest.AppUser+"'")
	statements := []string{strings.Replace(appTable, "COLLATION", collation, 1), "UPDATE msa_users SET password = '" + own + "', disabled = FALSE WHERE username = '" + msatest.AppUser + "'"}
	for _, a := range apps {
		expires := "NULL"
		if !a.Expires.IsZero() {
			expires = "'" + a.Expires.UTC().Format(time.RFC3339) + "'"
		}
		statements = append(statements, fmt.Sprintf("INSERT INTO msa_app_passwords VALUES ('%s', '%s', '%s', %s, '%s')",
			msatest.AppUser, a.Label, strings.Join(a.Credentials, " "), expires, strings.Join(a.Nets, ",")))
	}
	execute(t, db, statements...)
	for _, cache := range []conf.Duration{0, conf.Duration(time.Hour)} {
		msatest.AppPasswords(t, must(t, &SQL{Driver: s.Driver, DSN: s.DSN, Password: s.Password, AppPasswords: AppPasswordsToo, Cache: cache}))
	}
}

// users are changed by the default statements.
func users(t *testing.T, db *sql.DB, s *SQL) {
	insert(t, db, s.Driver, "bob@example.org", "{PLAIN}secret", "", "", false)
	dsn := s.DSN
	if s.Driver == "sqlite" {
		dsn = "file:" + (&url.URL{Path: s.DSN}).EscapedPath() + "?mode=rw"
	}
	msatest.Users(t, must(t, &SQL{Driver: s.Driver, DSN: dsn, Password: s.Password, AppPasswords: AppPasswordsToo, Cache: conf.Duration(time.Hour)}))
	manageUnreadable(t, db, s.Driver, must(t, &SQL{Driver: s.Driver, DSN: dsn, Password: s.Password, AppPasswords: AppPasswordsToo}))
	own := must(t, &SQL{Driver: s.Driver, DSN: s.DSN, Password: s.Password, Query: "SELECT username, password FROM msa_users WHERE username = {user}"})
	if _, err := own.ChangeUser(context.Background(), msatest.AppUser, passwd.Change{Disable: true}); !errors.Is(err, caddymsa.ErrNotChangeable) || !strings.Contains(err.Error(), "statements { disable") {
		t.Errorf("a query of one's own and no statements: %v", err)
	}
}

// manageUnreadable has a user whose row nobody can read, who can be seen, disabled and deleted all the same; and counts those who can use SCRAM.
func manageUnreadable(t *testing.T, db *sql.DB, driver string, b *SQL) {
	ctx := context.Background()
	all, withoutBefore, err := b.Sample(ctx, caddymsa.CapSCRAM, nil, 1000)
	if err != nil || all == 0 {
		t.Errorf("%d users, %v", all, err)
	}
	insert(t, db, driver, "crypt@example.org", generate(t, "SHA512-CRYPT", "crypt@example.org", "secret"), "", "", false)
	insert(t, db, driver, "garbled@example.org", "{PLAIN}x", "", "a@b@c", false)
	if users, without, err := b.Sample(ctx, caddymsa.CapSCRAM, nil, 1000); err != nil || users != all+1 || without != withoutBefore+1 {
		t.Errorf("%d of %d users cannot use SCRAM, before it were %d of %d: %v", without, users, withoutBefore, all, err)
	}
	if users, _, err := b.Sample(ctx, caddymsa.CapSCRAM, nil, 1); err != nil || users > 1 {
		t.Errorf("more than were asked for: %d, %v", users, err)
	}
	if u, err := b.User(ctx, "garbled@example.org"); err != nil || u.Name != "garbled@example.org" || u.Problem == "" {
		t.Errorf("%+v, %v", u, err)
	}
	if _, err := b.VerifyPassword(ctx, peer, "garbled@example.org", "x"); err == nil || errors.Is(err, caddymsa.ErrCredentials) {
		t.Error("what cannot be read is neither a yes nor a no:", err)
	}
	for _, c := range []passwd.Change{{Disable: true}, {Enable: true}, {Rename: "mended@example.org"}} {
		if _, err := b.ChangeUser(ctx, "garbled@example.org", c); err != nil {
			t.Errorf("%+v: %v", c, err)
		}
	}
	for _, name := range []string{"mended@example.org", "crypt@example.org"} {
		if _, err := b.ChangeUser(ctx, name, passwd.Change{Delete: true}); err != nil {
			t.Error(err)
		}
	}
}

// appPasswordsAlone are in their table without the users, who live elsewhere.
func appPasswordsAlone(t *testing.T, s *SQL) {
	ctx := context.Background()
	dsn := s.DSN
	if s.Driver == "sqlite" {
		dsn = "file:" + (&url.URL{Path: s.DSN}).EscapedPath() + "?mode=rw"
	}
	b := must(t, &SQL{Driver: s.Driver, DSN: dsn, Password: s.Password, AppPasswords: AppPasswordsOnly})
	const carol = "Carol@elsewhere.example"
	app, secret, err := passwd.MakeApp(carol, "phone", "2999-01-01", []string{"127.0.0.0/8", "::1"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.ChangeUser(ctx, carol, passwd.Change{AddApp: app}); !errors.Is(err, caddymsa.ErrUnknownUser) {
		t.Error(err)
	}
	if _, err := b.ChangeUser(ctx, carol, passwd.Change{AddApp: app, New: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.ChangeUser(ctx, carol, passwd.Change{AddApp: app, New: true}); !errors.Is(err, passwd.ErrRefused) {
		t.Error(err)
	}
	if id, err := b.VerifyPassword(ctx, peer, "carol@elsewhere.example", secret); err != nil || id.User != carol || id.AppPassword != "phone" {
		t.Errorf("%+v, %v", id, err)
	}
	if _, id, err := b.SCRAMCredential(ctx, peer, carol+"+PHONE"); err != nil || id.AppPassword != "phone" {
		t.Errorf("%+v, %v", id, err)
	}
	has := func(name string) (n int) {
		t.Helper()
		page, err := b.Users(ctx, "", 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range page {
			if u.Name == name {
				n += len(u.AppPasswords)
			}
		}
		return n
	}
	if has(carol) != 1 {
		t.Error("carol is not listed with an application password")
	}
	if _, err := b.ChangeUser(ctx, carol, passwd.Change{Disable: true}); !errors.Is(err, caddymsa.ErrNotChangeable) {
		t.Error(err)
	}
	if _, err := b.ChangeUser(ctx, carol, passwd.Change{Rename: "carola@elsewhere.example"}); err != nil || has(carol) != 0 || has("carola@elsewhere.example") != 1 {
		t.Error(err)
	}
	if _, err := b.ChangeUser(ctx, "carola@elsewhere.example", passwd.Change{Delete: true}); err != nil || has("carola@elsewhere.example") != 0 {
		t.Error(err)
	}
}

// tariff has a column of numbers say how much the user may submit.
func tariff(t *testing.T, db *sql.DB, s *SQL, name, password string) {
	t.Helper()
	execute(t, db, "CREATE TABLE msa_tariffs (plan VARCHAR(20), per_hour INTEGER, share DECIMAL(9,1))", "INSERT INTO msa_tariffs VALUES ('gold', 250, 1000.0)")
	s = must(t, &SQL{Driver: s.Driver, DSN: s.DSN, Password: s.Password, Query: "SELECT u.username, u.password, t.plan, t.per_hour, t.share FROM msa_users u, msa_tariffs t WHERE u.username = {user}"})
	for _, ask := range []func() (caddymsa.Identity, error){
		func() (caddymsa.Identity, error) { return s.VerifyPassword(context.Background(), peer, name, password) },
		func() (caddymsa.Identity, error) { return s.Lookup(context.Background(), peer, name) },
	} {
		id, err := ask()
		if err != nil || id.Attributes["plan"] != "gold" {
			t.Fatalf("%+v, %v", id, err)
		}
		msatest.Tariff(t, id, "per_hour", 250)
		msatest.Tariff(t, id, "share", 1000)
	}
}

func unknown(t *testing.T, s *SQL, name, password string) {
	t.Helper()
	ctx := context.Background()
	if _, err := s.VerifyPassword(ctx, peer, name, password); !errors.Is(err, caddymsa.ErrCredentials) {
		t.Errorf("%q by password: %v", name, err)
	}
	if _, err := s.Lookup(ctx, peer, name); !errors.Is(err, caddymsa.ErrCredentials) && name != "clear@example.org" {
		t.Errorf("%q looked up: %v", name, err)
	}
	key, _, err := s.SCRAMCredential(ctx, peer, name)
	again := key
	if installed.InCI() {
		again, _, _ = s.SCRAMCredential(ctx, peer, name)
	}
	if name != "clear@example.org" && (!errors.Is(err, caddymsa.ErrCredentials) || string(key.Salt) != string(again.Salt) || len(key.Salt) == 0) {
		t.Errorf("%q by SCRAM: %v", name, err)
	}
	candidates, err := s.DigestCredentials(ctx, peer, name, "example.org")
	for _, c := range candidates {
		if want := sasl.DigestHA1(name, "example.org", password); c.Password == password || c.HA1 != nil && *c.HA1 == want {
			t.Errorf("%q by DIGEST-MD5", name)
		}
	}
	if err != nil && !errors.Is(err, caddymsa.ErrCredentials) {
		t.Errorf("%q by DIGEST-MD5: %v", name, err)
	}
}

// cannotTell wants an error that is not a refusal, soon.
func cannotTell(t *testing.T, s *SQL, within time.Duration) {
	t.Helper()
	ctx := context.Background()
	var wg sync.WaitGroup
	for what, try := range map[string]func() error{
		"password": func() error { _, err := s.VerifyPassword(ctx, peer, "alice@example.org", "s3cret"); return err },
		"unknown":  func() error { _, err := s.VerifyPassword(ctx, peer, "nobody@example.org", "s3cret"); return err },
		"scram":    func() error { _, _, err := s.SCRAMCredential(ctx, peer, "alice@example.org"); return err },
		"digest":   func() error { _, err := s.DigestCredentials(ctx, peer, "alice@example.org", "r"); return err },
		"lookup":   func() error { _, err := s.Lookup(ctx, peer, "alice@example.org"); return err },
	} {
		wg.Go(func() {
			began := time.Now()
			err := try()
			if err == nil || errors.Is(err, caddymsa.ErrCredentials) {
				t.Errorf("%s: %v, want an error that is not a refusal", what, err)
			}
			if took := time.Since(began); took > within {
				t.Errorf("%s: %s passed", what, took)
			}
		})
	}
	wg.Wait()
}

// recovers waits until logins work, without being told.
func recovers(t *testing.T, s *SQL) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		_, err := s.VerifyPassword(context.Background(), peer, "alice@example.org", "s3cret")
		if err == nil {
			return
		}
		if errors.Is(err, caddymsa.ErrCredentials) || time.Now().After(end) {
			t.Fatal("it does not recover:", err)
		}
	}
}

func second(n int) conf.Duration { return conf.Duration(n) * conf.Duration(time.Second) }

// statements are as `caddy msa user --sql` prints them, which the tests of that package hold them
// to; each may come twice.
var statements = map[string]string{
	"postgres": `INSERT INTO msa_users (username, password, addresses) VALUES (E'it\\''s', E'{PLAIN}s3\\''cret', 'a@example.org,*@example.net') ON CONFLICT (username) DO UPDATE SET password = excluded.password, addresses = excluded.addresses;`,
	"sqlite":   `INSERT INTO msa_users (username, password, addresses) VALUES ('it\''s', '{PLAIN}s3\''cret', 'a@example.org,*@example.net') ON CONFLICT (username) DO UPDATE SET password = excluded.password, addresses = excluded.addresses;`,
	"mysql":    `INSERT INTO msa_users (username, password, addresses) VALUES (_utf8mb4 X'69745c2773', _utf8mb4 X'7b504c41494e7d73335c2763726574', 'a@example.org,*@example.net') ON DUPLICATE KEY UPDATE password = VALUES(password), addresses = VALUES(addresses);`,
}
