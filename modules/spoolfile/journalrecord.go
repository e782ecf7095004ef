package spoolfile

import (
	"encoding/binary"
	"hash/crc32"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
)

// A record of the journal is all facts of one commit:
//
//	checksum of the rest (4), version (1), revision (1), facts
//
// A fact is its fields that are not empty, each a tag and a value, and factEnd. The tag says whether a number or a
// text follows, so that fields of a later version can be passed over. All tags are above 0x7f: what looks for changes
// in damaged octets (mentioned) takes no fact for one.
const (
	factVersion = 1
	factFixed   = 6
	factEnd     = 0xff

	tagNumber = 0x80
	tagText   = 0xc0
)

// Tags. They are never given to another field.
const (
	tagTime = tagNumber + iota
	tagCount
	tagSubmission // comes before its fields
	tagSize
	tagPriority
	tagBounce
	tagVisit // likewise
	tagAttempt
	tagCode
	tagDuration
	tagNext
	tagCarried
)

const (
	tagWhat = tagText + iota
	tagID
	tagServer
	tagUser
	tagSender
	tagRecipient
	tagSaid
	tagNotification
	tagBy
	tagMoment
	tagReply
	tagPolicy
	tagBody
	tagEnvelopeID
	tagRemoteIP
	tagHelo
	tagClientTLS
	tagMechanism
	tagSession
	tagLooked
	tagRoute
	tagLane
	tagHost
	tagAddress
	tagTLS
	tagAnswer
	tagHopID
	tagStatus
	tagCopy
	tagOnce
	tagOnceSum
	tagAppPassword
)

// factCoder writes and reads facts: what visits all fields does both.
type factCoder struct {
	writing bool
	out     []byte
	in      string
	bad     bool
}

// fact visits the fields. New ones come at the end, outside the part that they belong to.
func (c *factCoder) fact(f *journal.Fact) {
	c.time(tagTime, &f.Time)
	c.text(tagWhat, (*string)(&f.What))
	c.text(tagID, &f.ID)
	c.text(tagServer, &f.Server)
	c.text(tagUser, &f.User)
	c.text(tagSender, &f.Sender)
	c.texts(tagRecipient, &f.Recipients)
	coded(c, tagCount, &f.Count)
	c.text(tagSaid, &f.Text)
	c.text(tagNotification, &f.Notification)
	c.text(tagBy, &f.By)
	c.text(tagMoment, &f.Moment)
	c.text(tagReply, &f.Reply)
	c.text(tagPolicy, &f.Policy)
	if section(c, tagSubmission, &f.Submission) {
		s := f.Submission
		coded(c, tagSize, &s.Size)
		c.text(tagBody, &s.Body)
		c.text(tagEnvelopeID, &s.EnvelopeID)
		coded(c, tagPriority, &s.Priority)
		c.text(tagRemoteIP, &s.RemoteIP)
		c.text(tagHelo, &s.Helo)
		c.text(tagClientTLS, &s.ClientTLS)
		c.text(tagMechanism, &s.Mechanism)
		c.text(tagSession, &s.Session)
		c.texts(tagLooked, &s.Policies)
		c.flag(tagBounce, &s.Bounce)
	}
	if section(c, tagVisit, &f.Visit) {
		v := f.Visit
		c.text(tagRoute, &v.Route)
		c.text(tagLane, &v.Lane)
		coded(c, tagAttempt, &v.Attempt)
		c.text(tagHost, &v.Host)
		c.text(tagAddress, &v.Address)
		c.text(tagTLS, &v.TLS)
		c.text(tagAnswer, &v.Answer)
		c.text(tagHopID, &v.HopID)
		coded(c, tagCode, &v.Code)
		c.text(tagStatus, &v.Status)
		coded(c, tagDuration, &v.Duration)
		c.time(tagNext, &v.Next)
		c.text(tagCopy, &v.Copy)
	}
	c.flag(tagCarried, &f.Carried)
	if s := f.Submission; s != nil {
		c.text(tagOnce, &s.Once)
		c.text(tagOnceSum, &s.OnceSum)
		c.text(tagAppPassword, &s.AppPassword)
	}
	c.end()
}

// at tells whether a field is the next.
func (c *factCoder) at(tag byte) bool {
	if len(c.in) == 0 || c.in[0] != tag {
		return false
	}
	c.in = c.in[1:]
	return true
}

func (c *factCoder) uvarint() (v uint64) {
	for shift := 0; shift < 64; shift += 7 {
		if len(c.in) == 0 {
			break
		}
		b := c.in[0]
		c.in = c.in[1:]
		v |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return v
		}
	}
	c.bad, c.in = true, ""
	return 0
}

// word reads a text, which shares the record's memory.
func (c *factCoder) word() string {
	n := c.uvarint()
	if n > uint64(len(c.in)) {
		c.bad, c.in = true, ""
		return ""
	}
	s := c.in[:n]
	c.in = c.in[n:]
	return s
}

func (c *factCoder) text(tag byte, s *string) {
	switch {
	case !c.writing:
		if c.at(tag) {
			*s = c.word()
		}
	case *s != "":
		c.out = appendText(append(c.out, tag), *s)
	}
}

func (c *factCoder) texts(tag byte, all *[]string) {
	if c.writing {
		for _, s := range *all {
			c.out = appendText(append(c.out, tag), s)
		}
		return
	}
	for c.at(tag) {
		*all = append(*all, c.word())
	}
}

func (c *factCoder) number(tag byte, n *int64) {
	switch {
	case !c.writing:
		if c.at(tag) {
			u := c.uvarint()
			*n = int64(u>>1) ^ -int64(u&1)
		}
	case *n != 0:
		c.out = binary.AppendVarint(append(c.out, tag), *n)
	}
}

// coded visits a number of whatever type.
func coded[T ~int | ~int64](c *factCoder, tag byte, n *T) {
	v := int64(*n)
	c.number(tag, &v)
	*n = T(v)
}

func (c *factCoder) flag(tag byte, b *bool) {
	var n int64
	if *b {
		n = 1
	}
	c.number(tag, &n)
	*b = n != 0
}

func (c *factCoder) time(tag byte, t *time.Time) {
	if c.writing {
		n := nanos(*t)
		c.number(tag, &n)
		return
	}
	var n int64
	c.number(tag, &n)
	*t = timeOf(n)
}

// section tells whether the fields of a part of the fact follow.
func section[T any](c *factCoder, tag byte, p **T) bool {
	there := *p != nil
	c.flag(tag, &there)
	if !c.writing && there {
		*p = new(T)
	}
	return there
}

// end ends a fact; what a later version wrote is passed over.
func (c *factCoder) end() {
	if c.writing {
		c.out = append(c.out, factEnd)
		return
	}
	for !c.at(factEnd) {
		if len(c.in) == 0 || c.in[0] < tagNumber {
			c.bad = true
			return
		}
		text := c.in[0] >= tagText
		if c.in = c.in[1:]; text {
			c.word()
		} else {
			c.uvarint()
		}
	}
}

// encodeFacts makes a record.
func encodeFacts(facts []journal.Fact, revision byte) []byte {
	c := factCoder{writing: true, out: make([]byte, factFixed, 320*len(facts))}
	for i := range facts {
		c.fact(&facts[i])
	}
	return sealFacts(c.out, revision)
}

// sealFacts writes the beginning of a record.
func sealFacts(b []byte, revision byte) []byte {
	b[4], b[5] = factVersion, revision
	binary.BigEndian.PutUint32(b, crc32.Checksum(b[4:], castagnoli))
	return b
}

// factsWhole tells whether a record is as it was written.
func factsWhole(b []byte) bool {
	return len(b) >= factFixed && b[4] == factVersion && binary.BigEndian.Uint32(b) == crc32.Checksum(b[4:], castagnoli)
}

// factsRevision is how often a record was written again.
func factsRevision(b []byte) byte {
	if len(b) < factFixed {
		return 0
	}
	return b[5]
}

// decodeFacts reads a record.
func decodeFacts(b []byte) ([]journal.Fact, error) { return appendFacts(make([]journal.Fact, 0, 1), b) }

// appendFacts is decodeFacts for who reads many, in room that there is already.
func appendFacts(facts []journal.Fact, b []byte) ([]journal.Fact, error) {
	if !factsWhole(b) {
		return nil, errRecord
	}
	c := factCoder{in: string(b[factFixed:])}
	for len(c.in) > 0 {
		facts = append(facts, journal.Fact{})
		c.fact(&facts[len(facts)-1])
	}
	if c.bad {
		return nil, errRecord
	}
	return facts, nil
}
