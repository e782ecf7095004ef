package spoolfile

import (
	"encoding/binary"
)

// raw are octets that cannot be trusted: a damaged part of a file.
type raw struct {
	file   string
	octets []byte
	mended bool // one bit of them was changed, so that the store's checksum is right
}

// carve finds the envelope records in octets that cannot be trusted, by their own checksums.
func carve(b []byte, found func(id string, value []byte)) {
	for at := 0; at+envelopeFixed <= len(b); at++ {
		if b[at] != recordVersion && b[at] != recordCopies || b[at+1] > envelopeSummed|envelopeHeld|envelopeIndependent {
			continue
		}
		n := int(binary.BigEndian.Uint32(b[at+2:]))
		if n <= envelopeFixed || n > len(b)-at {
			continue
		}
		value := b[at : at+n]
		v, err := decodeEnvelope(value)
		if err != nil {
			continue
		}
		if q, err := v.decode(); err == nil && q.ID != "" {
			found(q.ID, value)
			at += n - 1
		}
	}
}

// carveBody finds a message's octets by the checksum that its envelope has of them.
func (v *envelope) carveBody(raws []raw) []byte {
	if !v.summed {
		return nil
	}
	for _, r := range raws {
		if r.mended && !v.independent {
			continue // it would be right by the mending alone
		}
		if at := window(r.octets, int(v.bodyLen), v.bodySum, v.polynomial()); at >= 0 {
			return r.octets[at : at+int(v.bodyLen)]
		}
	}
	return nil
}

// payloads are a log's octets without the headers of its chunks, as far as these can be told.
func payloads(b []byte, offset int, log uint64) []byte {
	var out []byte
	for at := 0; at < len(b); {
		end := min(len(b), at+logBlock-(offset+at)%logBlock)
		if end-at < logHeader {
			at = end
			continue
		}
		n := logHeader + int(binary.LittleEndian.Uint16(b[at+4:]))
		if n > end-at || le32(b[at+7:]) != uint32(log) && b[at+6] > 12 {
			n = end - at
		}
		out = append(out, b[at+logHeader:at+n]...)
		at += n
	}
	return out
}
