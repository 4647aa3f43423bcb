package document

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"time"

	"sealpost/keys"
	"sealpost/store"
)

// Seal is what proves that a document is as it was finalized: an Ed25519 signature (RFC 8032) of its
// canonical bytes, by a key that is derived from AUDIT_SIGNING_KEY for this alone.
type Seal struct {
	Canonical   []byte
	ContentHash string // "sha256:" and the hex of the canonical bytes' SHA-256
	KeyID       string // of the AUDIT_SIGNING_KEY in use then
	PublicKey   ed25519.PublicKey
	Signature   []byte
}

// seal signs canonical bytes.
func seal(key *keys.Key, canonical []byte) Seal {
	private := ed25519.NewKeyFromSeed(key.Derive(keys.DocumentSeal))
	sum := sha256.Sum256(canonical)
	return Seal{
		Canonical:   canonical,
		ContentHash: "sha256:" + hex.EncodeToString(sum[:]),
		KeyID:       key.ID,
		PublicKey:   private.Public().(ed25519.PublicKey),
		Signature:   ed25519.Sign(private, canonical),
	}
}

// contentType and messageType are how a sealed document is announced to its receivers.
const (
	contentType = "application/json"
	messageType = "document.finalized"
)

// message is what the receivers get, in the form that Standard Webhooks recommends (type, timestamp,
// data), and canonical like the document in it: the document's bytes stand in it as they were signed.
func (s Seal) message(finalizedAt time.Time) []byte {
	b := make([]byte, 0, len(s.Canonical)+768)
	b = append(b, `{"data":{"contentHash":`...)
	b = appendString(b, s.ContentHash)
	b = append(b, `,"document":`...)
	b = append(b, s.Canonical...)
	b = append(b, `,"seal":{"algorithm":"Ed25519","keyId":`...)
	b = appendString(b, s.KeyID)
	b = append(b, `,"publicKey":`...)
	b = appendString(b, base64.StdEncoding.EncodeToString(s.PublicKey))
	b = append(b, `,"signature":`...)
	b = appendString(b, base64.StdEncoding.EncodeToString(s.Signature))
	b = append(b, `}},"timestamp":`...)
	b = appendString(b, finalizedAt.UTC().Format(timeLayout))
	b = append(b, `,"type":`...)
	b = appendString(b, messageType)
	return append(b, '}')
}

func insertSeal(ctx context.Context, tx *store.Tx, id string, s Seal) error {
	_, err := tx.Exec(ctx, `
		insert into document_seal (document_id, content_hash, key_id, public_key, signature, sealed)
		values ($1, $2, $3, $4, $5, $6)`,
		id, s.ContentHash, s.KeyID, []byte(s.PublicKey), s.Signature, s.Canonical)
	if err != nil {
		return fmt.Errorf("insert the seal: %w", err)
	}
	return nil
}

func findSeal(ctx context.Context, tx *store.Tx, id string) (s Seal, err error) {
	err = tx.QueryRow(ctx, `
		select content_hash, key_id, public_key, signature, sealed from document_seal where document_id = $1`, id).
		Scan(&s.ContentHash, &s.KeyID, (*[]byte)(&s.PublicKey), &s.Signature, &s.Canonical)
	if err != nil {
		return Seal{}, fmt.Errorf("read the seal: %w", err)
	}
	return s, nil
}
