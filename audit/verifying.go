package audit

import (
	"golang.org/x/mod/sumdb/tlog"

	"sealpost/keys"
)

// What package verify needs of this one's forms, so that each is written down once.

// HeadMAC is what covers the tree's head until a checkpoint does.
func HeadMAC(key *keys.Key, origin string, size int64, root tlog.Hash) []byte {
	return headMAC(key, origin, size, root)
}

// EnvelopeMAC is what covers an envelope, and the id of its event, until a checkpoint does.
func EnvelopeMAC(key *keys.Key, eventID string, envelope []byte) []byte {
	return mac(key, eventID, envelope)
}
