package spoolpostgres

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// Options are a store's.
type Options struct {
	DSN      string
	Password string // in place of one in the DSN
	Schema   string
	Pool     int
	Node     string
	Lease    time.Duration
	Role     Role
	Timeout  time.Duration // of what is asked of the database. Default 15 s
	// MaxMessages and MaxOctets bound what the spool takes, notifications of ours excepted; 0 for any number.
	MaxMessages, MaxOctets int64
	Bodies                 *Bodies     // nil: all messages lie in the database
	Log                    *zap.Logger // default nowhere

	keepEvery time.Duration // the journal's limits are looked after; a test may not want to wait for it
	config    *pgxpool.Config
	wanted    pgconn.ValidateConnectFunc // by the connection string
}

const (
	defaultSchema  = "msa"
	defaultPool    = 16
	defaultLease   = time.Minute
	defaultTimeout = 15 * time.Second
)

// prepare sets defaults and reads the connection string.
func (o *Options) prepare() error {
	if o.Schema == "" {
		o.Schema = defaultSchema
	}
	if o.Pool == 0 {
		o.Pool = defaultPool
	}
	if o.Lease == 0 {
		o.Lease = defaultLease
	}
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.keepEvery == 0 {
		o.keepEvery = keepEvery
	}
	c, err := pgxpool.ParseConfig(o.DSN)
	if file := conf.DSNFile(err); file != nil {
		return file
	}
	if err != nil { // the cause quotes pieces of the string
		return errors.New(`the connection string cannot be read; write postgres://msa@db.example.org/msa?sslmode=verify-full or "host=db.example.org user=msa", and a password with special characters as the setting password`)
	}
	if !strings.HasPrefix(c.ConnConfig.Host, "/") && !strings.Contains(o.DSN, "sslmode=") {
		return errors.New("the connection string does not say how TLS is used; add sslmode=verify-full, or sslmode=disable for a network that nobody else is in")
	}
	if !verified(c.ConnConfig) {
		return errors.New("the connection string has TLS that does not verify the server; write sslmode=verify-full, or sslmode=disable for a network that nobody else is in")
	}
	if o.Password != "" {
		c.ConnConfig.Password = o.Password
	}
	p := c.ConnConfig.RuntimeParams
	p["search_path"] = pgx.Identifier{o.Schema}.Sanitize()
	p["statement_timeout"], p["lock_timeout"] = "0", "0"
	p["idle_in_transaction_session_timeout"] = "60000"
	p["default_transaction_isolation"] = "read committed"
	p["jit"] = "off"
	if p["application_name"] == "" {
		p["application_name"] = "caddy-msa"
	}
	if each := o.Timeout / time.Duration(2+len(c.ConnConfig.Fallbacks)); c.ConnConfig.ConnectTimeout == 0 || c.ConnConfig.ConnectTimeout > each {
		c.ConnConfig.ConnectTimeout = each // of a host: the next one is to be found in time
	}
	c.ConnConfig.DialFunc = dialer(o.Timeout).DialContext
	c.ConnConfig.OnNotice = onNotice
	c.BeforeConnect = dialOnce
	o.wanted = c.ConnConfig.ValidateConnect
	c.ConnConfig.ValidateConnect = suitable(o.wanted, false)
	c.MaxConns = int32(o.Pool)
	o.config = c
	return nil
}

// verified tells whether each way to connect verifies the server, or none has TLS.
func verified(c *pgx.ConnConfig) bool {
	ways := []*tls.Config{c.TLSConfig}
	for _, f := range c.Fallbacks {
		ways = append(ways, f.TLSConfig)
	}
	for _, t := range ways {
		if (t == nil) != (ways[0] == nil) || t != nil && t.InsecureSkipVerify && t.VerifyPeerCertificate == nil {
			return false
		}
	}
	return true
}

// Store is one node's view of the spool.
type Store struct {
	schema  string
	node    string
	lease   time.Duration
	timeout time.Duration
	log     *zap.Logger

	keepEvery time.Duration // the journal's limits are looked after

	pool  *pgxpool.Pool // transactions that must be durable
	quick *pgxpool.Pool // what may be forgotten in a crash, and questions

	counts  *pgxpool.Pool // see Count
	counted time.Time     // they were tidied

	notify chan struct{}
	tell   chan struct{} // others are to be told
	ended  chan struct{} // closed by Close
	stop   context.CancelFunc
	life   context.Context
	tasks  sync.WaitGroup

	owner atomic.Int64 // what this node is in the database; another after its leases had ended
	role  atomic.Pointer[Role]
	quota quota
	hands hands
	turns turns
	share share
	facts facts
	trial trial

	accepts group[*newMessage]
	records group[*outcome]

	bodies  *Bodies
	cluster string        // the first part of the names of its objects
	gone    chan struct{} // objects are to be removed

	mu       sync.Mutex
	disowned []string      // messages whose client was told that they were not accepted
	touch    time.Time     // since when the database has been heard without a break
	late     atomic.Int32  // COMMITs that go on although nobody waits for them
	down     atomic.Bool   // the last renewal failed
	renewals chan struct{} // there was one
	checked  time.Time     // when it was looked for what a wrong clock had accepted
	server   time.Time     // when PostgreSQL was started, as of the last renewal
}

func closedError(err error) error { return fmt.Errorf("%w (%v)", queue.ErrClosed, err) }

func isEOF(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }

// Open connects to the database, and makes the tables where there are none.
func Open(ctx context.Context, o Options) (*Store, error) {
	if err := o.prepare(); err != nil {
		return nil, fmt.Errorf("spool postgres: %w", err)
	}
	s := &Store{schema: o.Schema, node: o.Node, lease: o.Lease, timeout: o.Timeout, keepEvery: o.keepEvery, log: o.Log, bodies: o.Bodies, gone: make(chan struct{}, 1), renewals: make(chan struct{}, 1),
		notify: make(chan struct{}, 1), tell: make(chan struct{}, 1), ended: make(chan struct{})}
	s.life, s.stop = context.WithCancel(context.Background())
	s.Adjust(o)
	s.turns.init()
	s.hands.init()
	s.share.init()
	s.hands.length = o.Lease
	s.facts.init()
	s.accepts = group[*newMessage]{do: s.acceptGroup, octets: (*newMessage).size, key: (*newMessage).different}
	s.records = group[*outcome]{do: s.recordGroup, octets: func(*outcome) int { return 0 }, key: func(o *outcome) any { return o.l.key }}
	s.hands.ended = s.facts.claims.loseAll
	ear, err := s.open(ctx, o)
	if err != nil {
		s.stop()
		s.closePools()
		return nil, fmt.Errorf("spool postgres: %s", conf.Redact(err.Error(), conf.NewResolved(o.config.ConnConfig.Password)))
	}
	s.touch = time.Now()
	s.tasks.Go(s.live)
	s.tasks.Go(s.lookAfter)
	s.tasks.Go(func() { s.listen(o.config.ConnConfig, ear) })
	s.tasks.Go(s.announce)
	s.tasks.Go(s.shareLanes)
	s.tasks.Go(s.keepJournal)
	if s.bodies != nil {
		s.tasks.Go(s.tidyObjects)
	}
	return s, nil
}

func (s *Store) open(ctx context.Context, o Options) (ear *pgx.Conn, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	durably := o.config.Copy()
	durably.AfterConnect = s.renumber
	durably.ConnConfig.ValidateConnect = suitable(o.wanted, true)
	// Its statements are about rows that an index finds, and are planned once: by a plan from when a table was empty it would be read from end to end when it is large.
	p := durably.ConnConfig.RuntimeParams
	p["plan_cache_mode"] = "force_generic_plan"
	p["enable_seqscan"], p["enable_mergejoin"], p["enable_hashjoin"] = "off", "off", "off"
	if s.pool, err = pgxpool.NewWithConfig(s.life, durably); err != nil {
		return nil, err
	}
	quick := o.config.Copy()
	quick.ConnConfig.RuntimeParams["synchronous_commit"] = "off"
	quick.MaxConns = 4
	if s.quick, err = pgxpool.NewWithConfig(s.life, quick); err != nil {
		return nil, err
	}
	if err := s.openCounts(o.config); err != nil {
		return nil, err
	}
	first := o.config.ConnConfig.Copy()
	first.ValidateConnect = suitable(o.wanted, true)
	if ear, err = s.attend(ctx, first, s.begin); err != nil { // which makes the tables: other connections find them there
		return nil, err
	}
	if _, err = s.enrol(ctx); err != nil {
		s.dismiss(ear)
		return nil, err
	}
	return ear, nil
}

// begin makes the tables, and takes over what a process before it had in hand.
func (s *Store) begin(ctx context.Context, conn *pgx.Conn) error {
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		warning, err := standbys(ctx, tx)
		if err != nil {
			return err
		}
		if warning != "" {
			s.log.Warn(warning)
		}
		if err := migrate(ctx, tx, s.schema); err != nil {
			return err
		}
		if err := tx.QueryRow(ctx, "SELECT cluster FROM msa_meta").Scan(&s.cluster); err != nil {
			return err
		}
		return s.inherit(ctx, tx)
	})
}

// enrol makes this node known under a new number.
func (s *Store) enrol(ctx context.Context) (time.Time, error) {
	began := time.Now()
	var owner int64
	if err := s.pool.QueryRow(ctx, "INSERT INTO msa_node (name, until) VALUES ($1, now() + $2::float8 * interval '1 second') RETURNING id", s.node, s.lease.Seconds()).Scan(&owner); err != nil {
		return began, err
	}
	s.owner.Store(owner)
	s.hands.renewed(began)
	return began, nil
}

func (s *Store) closed() bool {
	select {
	case <-s.ended:
		return true
	default:
		return false
	}
}

func (s *Store) check(ctx context.Context) error {
	if s.closed() {
		return queue.ErrClosed
	}
	return ctx.Err()
}

// Identity implements queue.Identifier. It is in the database: a copy of that has the same.
func (s *Store) Identity() string { return "postgres " + s.cluster }

// Notify implements queue.Notifier.
func (s *Store) Notify() <-chan struct{} { return s.notify }

func (s *Store) wake() {
	select {
	case s.notify <- struct{}{}:
	default:
	}
}

// changed wakes who waits on this node, and on the others.
func (s *Store) changed() {
	s.wake()
	select {
	case s.tell <- struct{}{}:
	default:
	}
}

// Close gives back what this node has leased.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed() {
		s.mu.Unlock()
		return nil
	}
	close(s.ended)
	s.mu.Unlock()
	s.hands.loseAll()
	s.stop()
	s.tasks.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	s.lastNotes(ctx)
	_, err := s.quick.Exec(ctx, "WITH d AS (UPDATE msa_due SET owner = NULL, handed = false WHERE owner = $1) DELETE FROM msa_node WHERE id = $1", s.owner.Load())
	if err != nil {
		s.log.Warn("leases were not given back: others take them over when they have ended", zap.Error(err))
	} else {
		_, _ = s.quick.Exec(ctx, "SELECT pg_notify($1, $2), pg_notify($1, $3)", s.channel(), s.name(), lanesNews+s.name())
	}
	s.closePools()
	return nil
}

func (s *Store) closePools() {
	for _, p := range []*pgxpool.Pool{s.pool, s.quick, s.counts} {
		if p != nil {
			go p.Close() // a connection that hangs must not keep the process
		}
	}
}

func (s *Store) channel() string { return "msa_" + s.schema }
func (s *Store) name() string    { return fmt.Sprint(s.owner.Load()) }

// Interface guards
var (
	_ queue.OpenSpool     = (*Store)(nil)
	_ queue.Notifier      = (*Store)(nil)
	_ queue.MessageOpener = (*Store)(nil)
	_ queue.Identifier    = (*Store)(nil)
)
