package smtpd

import (
	"io"
	"time"
)

// intake holds the octets of a message to what one may be made of, and to its size.
type intake struct {
	lines  newlines
	size   int64 // octets that came
	stored int64 // octets that were stored; more than came when normalizing
	limit  int64
}

func (s *Settings) messageSize() int64 { return orDefault(s.MessageSize, 52428800) }

func (s *Settings) recipients() int { return orDefault(s.Recipients, 1000) }

func (s *Settings) intake() intake {
	return intake{limit: s.messageSize(), lines: newlines{normalize: s.NormalizeNewlines}}
}

// take hands on what is to be stored of the next octets. After an error nothing more may be stored.
func (i *intake) take(p []byte, to io.Writer) error {
	i.size += int64(len(p))
	if len(p) == 0 {
		return nil
	}
	p, err := i.lines.check(p)
	if err != nil {
		return err
	}
	return i.store(p, to)
}

// last hands on what is still to be stored of a message that is whole.
func (i *intake) last(to io.Writer) error {
	p, err := i.lines.end()
	if err != nil {
		return err
	}
	return i.store(p, to)
}

func (i *intake) store(p []byte, to io.Writer) error {
	i.stored += int64(len(p))
	if max(i.size, i.stored) > i.limit {
		return errTooLarge
	}
	if len(p) == 0 {
		return nil
	}
	_, err := to.Write(p)
	return err
}

// tooSlow tells whether a body trickles, which has come for so long.
func (i *intake) tooSlow(s *Settings, elapsed time.Duration) bool {
	return s.Bounds().TooSlow(i.size, elapsed)
}
