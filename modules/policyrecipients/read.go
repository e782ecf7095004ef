package policyrecipients

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"

	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
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
	name       string
	written    *mailaddr.Set
	attributes []string // of who submits, with more patterns
	files      []*watch.File[*mailaddr.Set]
}

// openList is nil where there is no such list.
func (p *Recipients) openList(name string, patterns, paths []string) (*list, error) {
	if len(patterns)+len(paths) == 0 {
		return nil, nil
	}
	l := &list{name: name, written: &mailaddr.Set{Case: p.Case}}
	for _, text := range patterns {
		if strings.HasPrefix(text, "{") {
			attribute, ok := conf.Attribute(text)
			if !ok {
				return nil, fmt.Errorf("%s: %s is not a pattern, nor a placeholder {msa.identity.attributes.NAME}", name, text)
			}
			l.attributes = append(l.attributes, attribute)
			continue
		}
		if err := l.written.Add(text); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	for _, path := range paths {
		path, err := conf.Expand(path)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", name, err), l.close())
		}
		f, err := files[p.Case].Open(path, p.log, func(_ *mailaddr.Set, err error) { p.changed(path, err) })
		if err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", name, err), l.close())
		}
		l.files = append(l.files, f)
	}
	return l, nil
}

// has is false where there is no list. An error says that an attribute cannot be understood.
func (l *list) has(s *caddymsa.Submission, a mailaddr.Address) (bool, error) {
	if l == nil {
		return false, nil
	}
	if l.written.Has(a) {
		return true, nil
	}
	for _, f := range l.files {
		if f.Load().Has(a) {
			return true, nil
		}
	}
	if len(l.attributes) == 0 {
		return false, nil
	}
	set, err := l.ofUser(s)
	return err == nil && set.Has(a), err
}

// ofUser are the patterns that attributes hold, which are read once a submission.
func (l *list) ofUser(s *caddymsa.Submission) (*mailaddr.Set, error) {
	if set, ok := s.Value(l).(*mailaddr.Set); ok {
		return set, nil
	}
	set := &mailaddr.Set{Case: l.written.Case}
	for _, attribute := range l.attributes {
		for _, text := range strings.FieldsFunc(s.Identity.Attributes[attribute], func(r rune) bool { return r == ',' || unicode.IsSpace(r) }) {
			if err := set.Add(text); err != nil {
				return nil, fmt.Errorf("%s: attribute %s of the user: %w", l.name, attribute, err)
			}
		}
	}
	s.SetValue(l, set)
	return set, nil
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
