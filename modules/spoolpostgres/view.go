package spoolpostgres

import (
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// view reads messages in one statement each for entries and jobs, so that they fit together. OFFSET 0 has the planner look jobs up by their keys:
// where statistics know nothing yet it would go over all there is for each page.
const view = `SELECT e.key, e.id, e.entry, e.status, j.number, j.job, coalesce(d.handed, false), coalesce(z.handed, false) FROM %s e
	LEFT JOIN LATERAL (SELECT number, job FROM msa_job WHERE key = e.key OFFSET 0) j ON true
	LEFT JOIN LATERAL (SELECT handed FROM msa_due WHERE key = e.key AND number = j.number OFFSET 0) d ON true
	LEFT JOIN LATERAL (SELECT handed FROM msa_due WHERE key = e.key AND number = 0 OFFSET 0) z ON true %s ORDER BY e.id, j.number`

// viewed is one of them, or why it cannot be read.
type viewed struct {
	id  string
	m   *queue.EntryView
	err error
}

func views(rows pgx.Rows, err error) (all []viewed, err2 error) {
	if err != nil {
		return nil, err
	}
	var key, last int64
	var id string
	var entry, status, job []byte
	var number *int
	var handed, special bool
	_, err = pgx.ForEachRow(rows, []any{&key, &id, &entry, &status, &number, &job, &handed, &special}, func() error {
		if len(all) == 0 || key != last {
			e, st, err := decode(entry, status)
			v := viewed{id: id, err: err}
			if err == nil {
				v.m = &queue.EntryView{Entry: e, Status: *st, StatusLeased: special}
			}
			all, last = append(all, v), key
		}
		v := &all[len(all)-1]
		if job == nil || v.err != nil {
			return nil
		}
		j, err := queue.DecodeJob(job, v.m.Entry)
		if err != nil {
			v.err = err
			return nil
		}
		j.Leased = handed
		v.m.Jobs = append(v.m.Jobs, *j)
		return nil
	})
	for i := range all {
		if v := &all[i]; v.err != nil {
			v.err = fmt.Errorf("entry %s cannot be read: %w", v.id, v.err)
		}
	}
	return all, err
}

// oneView is views of one entry.
func oneView(rows pgx.Rows, err error) (*queue.EntryView, error) {
	all, err := views(rows, err)
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, queue.ErrNotFound
	}
	return all[0].m, all[0].err
}
