package policyrecipients

import (
	"errors"
	"fmt"
	"io"

	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
	"github.com/caddy-msa/caddy-msa/caddymsa/names"
	"github.com/caddy-msa/caddy-msa/caddymsa/textfile"
	"github.com/caddy-msa/caddy-msa/caddymsa/watch"
)

// files are the lists in memory, by how names compare in them.
var files = map[names.Case]*watch.Source[*mailaddr.Set]{
	names.Folded: {Parse: func(r io.Reader, name string, _ int64, _ *mailaddr.Set) (*mailaddr.Set, error) {
		return readSet(r, name, names.Folded)
	}},
	names.Exact: {Parse: func(r io.Reader, name string, _ int64, _ *mailaddr.Set) (*mailaddr.Set, error) {
		return readSet(r, name, names.Exact)
	}},
}

func readSet(r io.Reader, name string, c names.Case) (*mailaddr.Set, error) {
	set := &mailaddr.Set{Case: c}
	return set, textfile.List(r, name, set.Add)
}

// list is what the configuration says and what its files say.
type list struct {
	written *mailaddr.Set
	files   []*watch.File[*mailaddr.Set]
}

// openList is nil where there is no such list.
func (p *Recipients) openList(name string, patterns, paths []string) (*list, error) {
	if len(patterns)+len(paths) == 0 {
		return nil, nil
	}
	l := &list{written: &mailaddr.Set{Case: p.Case}}
	for _, text := range patterns {
		if err := l.written.Add(text); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	for _, path := range paths {
		f, err := files[p.Case].Open(path, p.log, func(_ *mailaddr.Set, err error) { p.changed(path, err) })
		if err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", name, err), l.close())
		}
		l.files = append(l.files, f)
	}
	return l, nil
}

func (l *list) has(a mailaddr.Address) bool {
	if l.written.Has(a) {
		return true
	}
	for _, f := range l.files {
		if f.Load().Has(a) {
			return true
		}
	}
	return false
}

func (l *list) close() (err error) {
	if l == nil {
		return nil
	}
	for _, f := range l.files {
		err = errors.Join(err, f.Close())
	}
	return err
}

func (p *Recipients) changed(path string, err error) {
	if err != nil {
		p.log.Error("recipients: a list cannot be read; what was read before stays in force", zap.Error(err))
		return
	}
	p.log.Info("recipients: a list was read again", zap.String("file", path))
}
