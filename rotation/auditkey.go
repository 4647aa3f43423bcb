package rotation

import "context"

// sealBefore has everything that waits sealed under the AUDIT_SIGNING_KEY that is in use, before this server
// uses another one. That it cannot be just now does not keep a key that may have leaked in use: what waits
// is still verified by it for a moment, and sealed then.
func (k *Keeper) sealBefore(ctx context.Context, next *slot) {
	if k.o.SealPending == nil || next.current == nil || next.ring.Current() == nil || next.ring.Current().ID == next.inUse().id {
		return
	}
	if err := k.o.SealPending(ctx); err != nil {
		k.o.Logger.Warn("the audit log could not be sealed before its key changes; it is after", "error", err)
	}
}
