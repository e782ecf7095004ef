package policyrecipients

import (
	"bufio"
	"fmt"
	"os"
	"strings"

	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
	"github.com/caddy-msa/caddy-msa/caddymsa/names"
)

// read reads all lists.
func (p *Recipients) read() (*lists, error) {
	allow, err := readSet("allow", p.Case, p.Allow, p.AllowFiles)
	if err != nil {
		return nil, err
	}
	deny, err := readSet("deny", p.Case, p.Deny, p.DenyFiles)
	return &lists{allow, deny}, err
}

// readSet is nil where there is no such list.
func readSet(name string, c names.Case, patterns, files []string) (*mailaddr.Set, error) {
	if len(patterns)+len(files) == 0 {
		return nil, nil
	}
	set := &mailaddr.Set{Case: c}
	for _, text := range patterns {
		if err := set.Add(text); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	for _, file := range files {
		if err := readFile(set, file); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return set, nil
}

func readFile(set *mailaddr.Set, file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	for n := 1; s.Scan(); n++ {
		line, _, _ := strings.Cut(s.Text(), "#")
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		if err := set.Add(line); err != nil {
			return fmt.Errorf("%s:%d: %w", file, n, err)
		}
	}
	if err := s.Err(); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}

// reload takes the files as they are now.
func (p *Recipients) reload() {
	p.mu.Lock()
	defer p.mu.Unlock()
	all, err := p.read()
	if err != nil {
		p.log.Error("recipients: lists cannot be read; those that were read before stay in force", zap.Error(err))
		return
	}
	p.lists.Store(all)
	p.log.Info("recipients: lists were read again", zap.Strings("allow", p.AllowFiles), zap.Strings("deny", p.DenyFiles))
}
