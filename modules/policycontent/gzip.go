package policycontent

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/caddy-msa/caddy-msa/caddymsa/message"
)

// listGzip lists a compressed tar; anything else is one file, whose name is in the archive, or
// is the part's without its ending.
func listGzip(r *bufio.Reader, p *message.Part, inflate *budget, admit func(string) error) error {
	const why = "it cannot be read as gzip"
	z, err := gzip.NewReader(r)
	if err != nil {
		return cannotList(why)
	}
	names := []string{z.Name}
	z.Multistream(false)
	inflated := bufio.NewReaderSize(&bounded{r: &members{z: z, r: r}, budget: inflate}, 4096)
	head, err := inflated.Peek(tarHead)
	if err != nil && !errors.Is(err, io.EOF) {
		return asNotListed(err, why)
	}
	for _, name := range p.FileNames {
		stem := strings.TrimSuffix(name, path.Ext(name))
		if strings.EqualFold(path.Ext(name), ".tgz") {
			stem += ".tar"
		}
		names = append(names, stem)
	}
	slices.Sort(names)
	tarred := kindOf(&message.Part{}, head) == "tar"
	for _, name := range slices.Compact(names) {
		if name == "" || tarred {
			continue
		}
		if err := admit(name); err != nil {
			return err
		}
	}
	if !tarred {
		return nil
	}
	return listTar(inflated, admit)
}

// members reads the members of a gzip one after the other (RFC 1952 section 2.2). What fills the file up behind the last is nothing.
type members struct {
	z *gzip.Reader
	r *bufio.Reader
}

func (m *members) Read(p []byte) (n int, err error) {
	for n == 0 {
		if n, err = m.z.Read(p); !errors.Is(err, io.EOF) {
			return n, err
		}
		if err := m.next(); err != nil {
			return n, err
		}
	}
	return n, nil
}

func (m *members) next() error {
	for {
		c, err := m.r.ReadByte()
		if err != nil {
			return err
		}
		if c != 0 && c != '\r' && c != '\n' {
			break
		}
	}
	if err := m.r.UnreadByte(); err != nil {
		return err
	}
	if err := m.z.Reset(m.r); err != nil {
		return cannotList("there is something behind its end")
	}
	m.z.Multistream(false)
	return nil
}

// budget is what may yet be inflated for a message, and for how long.
type budget struct {
	ctx  context.Context
	left int64
}

// bounded ends in an error when its budget is spent, or its time is over.
type bounded struct {
	r      io.Reader
	budget *budget
}

func (b *bounded) Read(p []byte) (int, error) {
	if err := context.Cause(b.budget.ctx); err != nil {
		return 0, err
	}
	if b.budget.left <= 0 {
		return 0, cannotList("the message's archives hold more than %d octets together", maxInflated)
	}
	n, err := b.r.Read(p[:min(int64(len(p)), b.budget.left)])
	b.budget.left -= int64(n)
	return n, err
}
