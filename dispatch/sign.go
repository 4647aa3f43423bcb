package dispatch

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	webhook "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// secretBytes is the strength of a signing secret; Standard Webhooks asks for 24 to 64.
const secretBytes = 32

// newSigningSecret makes a secret in the form that Standard Webhooks libraries take: whsec_ and base64.
func newSigningSecret() string {
	b := make([]byte, secretBytes)
	_, _ = rand.Read(b)
	return "whsec_" + base64.StdEncoding.EncodeToString(b)
}

// sign sets the headers of Standard Webhooks v1. The id is the job's, the same for each attempt, and
// Idempotency-Key repeats it for receivers that know that header.
func sign(h http.Header, t *target, id string, now time.Time, payload []byte) error {
	var signatures []string
	for _, secret := range t.secrets.signers(now, t.oldSecretUntil) {
		wh, err := webhook.NewWebhook(secret)
		if err != nil {
			return fmt.Errorf("sign job %s: the endpoint's secret cannot be read", id)
		}
		signature, err := wh.Sign(id, now, payload)
		if err != nil {
			return fmt.Errorf("sign job %s: %w", id, err)
		}
		signatures = append(signatures, signature)
	}
	h.Set("webhook-id", id)
	h.Set("webhook-timestamp", strconv.FormatInt(now.Unix(), 10))
	h.Set("webhook-signature", strings.Join(signatures, " "))
	h.Set("Idempotency-Key", id)
	return nil
}
