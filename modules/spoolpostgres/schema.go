package spoolpostgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// migrations make the tables, each from the version before it. What was released is never edited.
var migrations = []string{`
CREATE TABLE msa_entry (
	key bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	id text COLLATE "C" NOT NULL UNIQUE,
	entry bytea NOT NULL, status bytea, next int NOT NULL, octets bigint NOT NULL);
CREATE TABLE msa_body (key bigint, n int, data bytea NOT NULL, PRIMARY KEY (key, n));
ALTER TABLE msa_body ALTER COLUMN data SET STORAGE EXTERNAL;
CREATE TABLE msa_job (key bigint, number int, job bytea NOT NULL, PRIMARY KEY (key, number)) WITH (fillfactor = 80);
-- What waits or is leased: a narrow row a job, number 0 for the one that follows from the status.
CREATE TABLE msa_due (
	key bigint, number int,
	id text COLLATE "C" NOT NULL, usr text COLLATE "C" NOT NULL, rank smallint NOT NULL,
	lane text COLLATE "C" NOT NULL, due bigint NOT NULL, deadline bigint NOT NULL, accepted bigint NOT NULL, held boolean NOT NULL,
	owner bigint, handed boolean NOT NULL DEFAULT false, token bigint NOT NULL DEFAULT 0,
	PRIMARY KEY (key, number)
) WITH (fillfactor = 60, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_scale_factor = 0,
	autovacuum_vacuum_cost_delay = 0, autovacuum_analyze_threshold = 5000, autovacuum_analyze_scale_factor = 0.1);
CREATE INDEX msa_due_turn ON msa_due (lane, usr, rank, due, key, number) WHERE owner IS NULL AND NOT held;
CREATE INDEX msa_due_time ON msa_due (due) WHERE owner IS NULL AND NOT held;
CREATE INDEX msa_due_deadline ON msa_due (deadline) WHERE owner IS NULL AND NOT held;
CREATE INDEX msa_due_lane ON msa_due (lane, id);
CREATE INDEX msa_due_owner ON msa_due (owner) WHERE owner IS NOT NULL;
CREATE TABLE msa_node (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL, until timestamptz NOT NULL);
-- What was added and taken away since somebody last summed it up.
CREATE TABLE msa_sum (messages bigint NOT NULL, octets bigint NOT NULL);
`, `
-- Nodes that deliver have a part in lanes; seen is the latest part that a node makes room for, over are lanes of which it has too much in hand.
CREATE SEQUENCE msa_part;
ALTER TABLE msa_node ADD part bigint, ADD seen bigint NOT NULL DEFAULT 0, ADD over text[] NOT NULL DEFAULT '{}';
CREATE SEQUENCE msa_change;
CREATE TABLE msa_lane (lane text COLLATE "C" PRIMARY KEY, writer bigint NOT NULL, version bigint NOT NULL,
	up boolean NOT NULL, condition bytea NOT NULL, changed timestamptz NOT NULL) WITH (fillfactor = 70);
CREATE INDEX msa_lane_version ON msa_lane (version);
`, `
-- A message that is an object in S3 has its name here, and no rows in msa_body. Names begin with the cluster's.
ALTER TABLE msa_entry ADD object text COLLATE "C";
CREATE INDEX msa_entry_object ON msa_entry (object) WHERE object IS NOT NULL;
CREATE TABLE msa_gone (object text COLLATE "C" PRIMARY KEY); -- to be removed
ALTER TABLE msa_meta ADD cluster text NOT NULL DEFAULT replace(gen_random_uuid()::text, '-', '');
`, `
-- What was accepted with a policy that wants no message twice. It outlives delivery.
CREATE TABLE msa_digest (digest bytea PRIMARY KEY, id text COLLATE "C" NOT NULL, until timestamptz NOT NULL);
CREATE INDEX msa_digest_until ON msa_digest (until);
`, `
-- What is delivered at once leaves as many dead rows as messages: they are cleared away before there are many.
ALTER TABLE msa_entry SET (autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE msa_job SET (autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE msa_body SET (autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0,
	toast.autovacuum_vacuum_threshold = 4000, toast.autovacuum_vacuum_scale_factor = 0.02, toast.autovacuum_vacuum_cost_delay = 0);
ALTER TABLE msa_sum SET (autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_scale_factor = 0);
`, `
-- Jobs of copies, for which what the sender is to be told does not wait.
ALTER TABLE msa_due ADD copied boolean NOT NULL DEFAULT false;
`, `
-- Counts of limits that nodes share. A crash or a failover may forget them: nothing of them is written twice.
CREATE UNLOGGED TABLE msa_count (key text COLLATE "C" PRIMARY KEY, level bigint NOT NULL, until timestamptz NOT NULL)
	WITH (fillfactor = 70, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
`, `
-- The journal. What finds a fact is hashed, in a narrow table; the oldest are deleted in small lots.
CREATE TABLE msa_fact (
	pos bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	time bigint NOT NULL, what text COLLATE "C" NOT NULL, keys bigint[] NOT NULL, octets int NOT NULL, fact text COLLATE "C" NOT NULL
) WITH (autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_threshold = 100000, autovacuum_vacuum_insert_scale_factor = 0.1);
CREATE TABLE msa_fact_key (key bigint, pos bigint, PRIMARY KEY (key, pos))
	WITH (autovacuum_vacuum_threshold = 100000, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_insert_threshold = 500000, autovacuum_vacuum_insert_scale_factor = 0.1);
CREATE TABLE msa_cursor (name text COLLATE "C" PRIMARY KEY, pos bigint NOT NULL) WITH (fillfactor = 50);
CREATE TABLE msa_claim (follower text COLLATE "C" PRIMARY KEY, owner bigint NOT NULL, token bigint NOT NULL);
-- How much there is up to a position, and on which server positions were given.
CREATE TABLE msa_journal (facts bigint NOT NULL, octets bigint NOT NULL, counted bigint NOT NULL, server text NOT NULL) WITH (fillfactor = 50);
INSERT INTO msa_journal VALUES (0, 0, 0, '');
`, `
-- Messages of up to 8 KB lie in their row: in pieces of 2 KB each would be five rows with an index of their own.
ALTER TABLE msa_body SET (toast_tuple_target = 8160);
-- What is claimed is not looked for.
DROP INDEX msa_due_lane;
CREATE INDEX msa_due_lane ON msa_due (lane, id) WHERE owner IS NULL AND NOT held;
`}

// migrateLock is the advisory lock of whoever changes tables, "msa" in ASCII.
const migrateLock = 0x6d7361

// migrate makes the schema what this version knows. Nodes that start at once wait for one another.
func migrate(ctx context.Context, db pgx.Tx, schema string) error {
	if _, err := db.Exec(ctx, "SELECT pg_advisory_xact_lock($1)", migrateLock); err != nil {
		return err
	}
	name := pgx.Identifier{schema}.Sanitize()
	var there bool
	if err := db.QueryRow(ctx, "SELECT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = $1)", schema).Scan(&there); err != nil {
		return err
	}
	if !there {
		if _, err := db.Exec(ctx, "CREATE SCHEMA "+name); err != nil {
			return err
		}
	}
	if err := db.QueryRow(ctx, "SELECT to_regclass($1) IS NOT NULL", name+".msa_meta").Scan(&there); err != nil {
		return err
	}
	if !there {
		if _, err := db.Exec(ctx, "CREATE TABLE "+name+".msa_meta (version int NOT NULL); INSERT INTO "+name+".msa_meta VALUES (0)", pgx.QueryExecModeSimpleProtocol); err != nil {
			return err
		}
	}
	var have int
	if err := db.QueryRow(ctx, "SELECT version FROM "+name+".msa_meta").Scan(&have); err != nil {
		return err
	}
	if have > len(migrations) {
		return fmt.Errorf("the schema %s has version %d, made by a newer caddy-msa; this one knows versions up to %d: update this node, or give it a schema of its own", schema, have, len(migrations))
	}
	for v := have; v < len(migrations); v++ {
		if _, err := db.Exec(ctx, migrations[v], pgx.QueryExecModeSimpleProtocol); err != nil {
			return fmt.Errorf("making version %d of the tables: %w", v+1, err)
		}
	}
	_, err := db.Exec(ctx, "UPDATE "+name+".msa_meta SET version = $1 WHERE version <> $1", len(migrations))
	return err
}

// standbys returns what there is to warn of: without a synchronous standby what was accepted is on one disk.
func standbys(ctx context.Context, db pgx.Tx) (warning string, err error) {
	var none bool
	err = db.QueryRow(ctx, "SELECT current_setting('synchronous_standby_names') = '' OR current_setting('synchronous_commit') = 'local'").Scan(&none)
	if none {
		warning = "the database has no synchronous standby: accepted messages are lost with its disk; see synchronous_standby_names in postgresql.conf"
	}
	return warning, err
}
