package policymilter

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
)

// Codes of packets, and what stands before the macros in a milter's answer to the negotiation: its code, version, actions
// and what it does not want.
const (
	codeNegotiation = 'O'
	codeReply       = 'y'
	beforeMacros    = 1 + 3*4
)

// amended is a packet of a milter's as the library understands it, which takes some otherwise than Sendmail and Postfix do.
func amended(packet []byte) []byte {
	switch {
	case packet[0] == codeNegotiation && len(packet) > beforeMacros:
		return withAllStages(packet)
	case packet[0] == codeReply && len(packet) == len("y550\x00"): // smfi_setreply without a text
		return append(packet[:len(packet)-1], ' ', 0)
	}
	return packet
}

// withAllStages adds the macros of the stages for which a milter asks for none. To the library, one that asks for some at one
// stage wants none at the others.
func withAllStages(packet []byte) []byte {
	asked := make(map[uint32]bool)
	rest := packet[beforeMacros:]
	for len(rest) > 4 {
		end := bytes.IndexByte(rest[4:], 0)
		if end < 0 {
			break
		}
		asked[binary.BigEndian.Uint32(rest)] = true
		rest = rest[4+end+1:]
	}
	packet = slices.Clip(packet[:len(packet)-len(rest)]) // what is left is no list
	for stage, names := range stageMacros {
		if n := uint32(stage); len(asked) > 0 && !asked[n] {
			packet = append(binary.BigEndian.AppendUint32(packet, n), strings.Join(names, " ")+"\x00"...)
		}
	}
	return packet
}
