package passkeytest

import "encoding/binary"

// As much of CBOR (RFC 8949) as authenticators write, in its canonical form where the caller keeps to the
// order of keys.

const (
	majorUnsigned byte = 0
	majorNegative byte = 1
	majorBytes    byte = 2
	majorText     byte = 3
	majorMap      byte = 5
)

func cborHead(major byte, n uint64) []byte {
	major <<= 5
	switch {
	case n < 24:
		return []byte{major | byte(n)}
	case n < 1<<8:
		return []byte{major | 24, byte(n)}
	case n < 1<<16:
		return binary.BigEndian.AppendUint16([]byte{major | 25}, uint16(n))
	case n < 1<<32:
		return binary.BigEndian.AppendUint32([]byte{major | 26}, uint32(n))
	}
	return binary.BigEndian.AppendUint64([]byte{major | 27}, n)
}

func cborInt(n int64) []byte {
	if n < 0 {
		return cborHead(majorNegative, uint64(-1-n))
	}
	return cborHead(majorUnsigned, uint64(n))
}

func cborBytes(b []byte) []byte { return append(cborHead(majorBytes, uint64(len(b))), b...) }

func cborText(s string) []byte { return append(cborHead(majorText, uint64(len(s))), s...) }

// cborMap writes key, value, key, value, each of them CBOR already.
func cborMap(pairs ...[]byte) []byte {
	m := cborHead(majorMap, uint64(len(pairs)/2))
	for _, p := range pairs {
		m = append(m, p...)
	}
	return m
}
