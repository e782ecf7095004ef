package sinkmaildir

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/emersion/go-smtp"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
	"github.com/caddy-msa/caddy-msa/caddymsa/names"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
	"github.com/caddy-msa/caddy-msa/caddymsa/textfile"
	"github.com/caddy-msa/caddy-msa/caddymsa/watch"
)

// mailboxes are the keys of addresses that have one.
type mailboxes map[string]struct{}

// lists are the files with them in memory, by how names compare in them.
var lists = map[names.Case]*watch.Source[mailboxes]{names.Folded: source(names.Folded), names.Exact: source(names.Exact)}

func source(c names.Case) *watch.Source[mailboxes] {
	return &watch.Source[mailboxes]{Parse: func(r io.Reader, name string, _ int64, _ mailboxes) (mailboxes, error) {
		all := make(mailboxes)
		err := textfile.List(r, name, func(word string) error {
			a, err := mailaddr.Parse(word, true)
			if err == nil && a.Domain == "" {
				err = errors.New("a domain is missing")
			}
			if err != nil {
				return fmt.Errorf("%s is not an address: %w", word, err)
			}
			all[a.KeyCase(c)] = struct{}{}
			return nil
		})
		return all, err
	}}
}

var errNoMailbox = &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "No such mailbox here"}

// exists is nil for a mailbox that is there, and errNoMailbox for one that is not. Any other error leaves it open.
func (m *Maildir) exists(r *queue.Recipient, path string) error {
	if m.list != nil {
		a, err := mailaddr.Parse(r.Complete(), true)
		if err != nil {
			return errNoMailbox
		}
		if _, ok := m.list.Load()[a.KeyCase(m.Case)]; !ok {
			return errNoMailbox
		}
		return nil
	}
	root, err := os.OpenRoot(m.base)
	if err != nil { // not mounted, perhaps
		return fmt.Errorf("maildir: %w", err)
	}
	defer root.Close()
	return onDisk(root, path)
}

func onDisk(root *os.Root, path string) error {
	info, err := root.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && !info.IsDir():
		return errNoMailbox
	case err != nil:
		return fmt.Errorf("maildir: %w", err)
	}
	return nil
}

// vanished is what becomes of a message whose mailbox was there when it was accepted. It is tried again: a disk may be missing.
func (m *Maildir) vanished(root *os.Root, path string) error {
	if !m.Existing || m.list != nil {
		return nil
	}
	if err := onDisk(root, path); err != nil {
		return fmt.Errorf("mailbox %s is not there any more: %s", path, err.Error()) // and not the 550 itself
	}
	return nil
}

func (m *Maildir) changed(all mailboxes, err error) {
	if err != nil {
		m.log.Error("maildir: the list of mailboxes cannot be read; what was read before stays in force", zap.Error(err))
		return
	}
	m.log.Info("maildir: the list of mailboxes was read again", zap.String("file", m.List), zap.Int("mailboxes", len(all)))
}
