package keys

import "encoding/hex"

// Sealed names a column whose values are boxes that Encrypt made under a purpose, each bound to the
// value of another column of its row: the place.
type Sealed struct {
	Table, Place, Column string
	Purpose              Purpose
}

// KeyIDOf reads from a box which key it was made with; "" where it is none.
func KeyIDOf(box []byte) string {
	if len(box) < 1+IDBytes || box[0] != boxVersion {
		return ""
	}
	return hex.EncodeToString(box[1 : 1+IDBytes])
}
