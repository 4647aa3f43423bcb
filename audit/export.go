package audit

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/tlog"

	"sealpost/fault"
	"sealpost/store"
)

// The files of an export. Beside C2SP tlog-tiles' own (checkpoint, tile/LEVEL/N, tile/entries/N) it has the
// events, which may be removed lawfully, and what else a verifier asks for.
const (
	ExportFormat          = "sealpost.org/audit-export/v1"
	ExportManifestFile    = "manifest.json"
	ExportSumsFile        = "SHA256SUMS"        // of every other file, as sha256sum writes and checks it
	ExportCheckpointFile  = "checkpoint"        // the signed note that the export ends with
	ExportCheckpointsFile = "checkpoints.jsonl" // the kept ones up to it
	ExportKeysFile        = "keys.json"         // the key history
	ExportRejectedFile    = "rejected.jsonl"
)

// ExportManifest says what an export is. Nothing in it is signed: it is for finding one's way, and against
// damage on the way.
type ExportManifest struct {
	Format     string    `json:"format"`
	Origin     string    `json:"origin"`
	Size       int64     `json:"size"` // leaves
	Bodies     int64     `json:"bodies"`
	Removed    int64     `json:"removed"` // leaves without one
	CreatedAt  time.Time `json:"createdAt"`
	SumsSHA256 string    `json:"sumsSha256"` // of SHA256SUMS
}

// ExportedEvent is a line of bodies/N.jsonl: leaf 256·N and the following ones. Without salt and body it was
// removed.
type ExportedEvent struct {
	Leaf int64  `json:"leaf"`
	ID   string `json:"id"`
	Salt string `json:"salt,omitempty"` // hex
	Body string `json:"body,omitempty"` // the event's canonical JSON
	// BodyBase64 takes the place of a body that is no text: somebody has changed it.
	BodyBase64 []byte `json:"bodyBase64,omitempty"`
}

// ExportedCheckpoint is a line of checkpoints.jsonl.
type ExportedCheckpoint struct {
	Size  int64     `json:"size"`
	Time  time.Time `json:"time"`
	KeyID string    `json:"keyId"`
	Link  bool      `json:"link,omitempty"`
	Note  string    `json:"note"`
}

// ExportedKey is an element of keys.json.
type ExportedKey struct {
	KeyID       string    `json:"keyId"`
	VerifierKey string    `json:"verifierKey"`
	FirstSize   int64     `json:"firstSize"`
	FirstAt     time.Time `json:"firstAt"`
}

// ExportedRejection is a line of rejected.jsonl.
type ExportedRejection struct {
	At       time.Time `json:"at"`
	Reason   string    `json:"reason"`
	Writer   string    `json:"writer"`
	Counter  int64     `json:"counter"`
	EventID  string    `json:"eventId"`
	Envelope []byte    `json:"envelope"`
	MAC      []byte    `json:"mac"`
}

// ExportBodiesPath is the file that has the events of bundle n.
func ExportBodiesPath(n int64) string {
	path := TilePath{Entries: true, N: n, Width: tileWidth}.String()
	return "bodies/" + strings.TrimPrefix(path, "tile/entries/") + ".jsonl"
}

// Export writes the log up to its newest checkpoint into an empty or new directory, as files. It reads bundle
// by bundle, in statements of their own: memory does not grow with the log, no transaction stays open, and a
// server that runs meanwhile is not disturbed. progress is told how many leaves of how many are written.
//
// fault.Conflict where the directory has something in it, nothing is signed yet, or retention or a redaction
// began meanwhile, whose intent the export would then not have.
func Export(ctx context.Context, st *store.Store, dir string, progress func(done, total int64)) (ExportManifest, error) {
	if err := emptyDir(dir); err != nil {
		return ExportManifest{}, err
	}
	e := exporter{st: st, log: New(st, slog.New(slog.DiscardHandler)), dir: dir, sums: sha256.New(), made: map[string]bool{}}
	m, err := e.run(ctx, progress)
	if err != nil {
		return m, fmt.Errorf("export the audit log: %w", err)
	}
	return m, nil
}

func emptyDir(dir string) error {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return os.MkdirAll(dir, 0o700)
	case err != nil:
		return err
	case len(entries) > 0:
		return fault.New(fault.Conflict, "%s is not empty: an export goes into a directory of its own", dir)
	}
	return nil
}

// exporter is one export.
type exporter struct {
	st   *store.Store
	log  *Log
	dir  string
	list *bufio.Writer // SHA256SUMS
	sums interface {
		Write(b []byte) (int, error)
		Sum(b []byte) []byte
	}
	made map[string]bool // directories
	m    ExportManifest
}

func (e *exporter) run(ctx context.Context, progress func(done, total int64)) (ExportManifest, error) {
	c, err := e.log.Checkpoint(ctx)
	if fault.Is(err, fault.NotFound) {
		return e.m, fault.New(fault.Conflict, "there is no checkpoint yet, so there is nothing that could be verified")
	}
	if err != nil {
		return e.m, err
	}
	e.m = ExportManifest{Format: ExportFormat, Origin: c.Origin, Size: c.Size, CreatedAt: time.Now().UTC().Truncate(time.Microsecond)}
	f, err := os.OpenFile(filepath.Join(e.dir, ExportSumsFile), os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	if err != nil {
		return e.m, err
	}
	defer f.Close() //nolint:errcheck // closed below where it was written
	e.list = bufio.NewWriter(f)
	if err := e.file(ExportCheckpointFile, []byte(c.Note)); err != nil {
		return e.m, err
	}
	for n := int64(0); n*tileWidth < c.Size; n++ {
		if err := ctx.Err(); err != nil {
			return e.m, err
		}
		if err := e.bundle(ctx, n, int(min(tileWidth, c.Size-n*tileWidth))); err != nil {
			return e.m, err
		}
		if progress != nil {
			progress(min(c.Size, (n+1)*tileWidth), c.Size)
		}
	}
	if err := e.tiles(ctx, c.Size); err != nil {
		return e.m, err
	}
	if err := e.rest(ctx, c.Size); err != nil {
		return e.m, err
	}
	if err := e.unchanged(ctx, c.Size); err != nil {
		return e.m, err
	}
	if err := errors.Join(e.list.Flush(), f.Close()); err != nil {
		return e.m, err
	}
	e.m.SumsSHA256 = hex.EncodeToString(e.sums.Sum(nil))
	text, err := json.MarshalIndent(e.m, "", "  ")
	if err != nil {
		return e.m, err
	}
	return e.m, os.WriteFile(filepath.Join(e.dir, ExportManifestFile), append(text, '\n'), 0o600)
}

// file writes one file, and its line in SHA256SUMS.
func (e *exporter) file(path string, b []byte) error {
	whole := filepath.Join(e.dir, filepath.FromSlash(path))
	if dir := filepath.Dir(whole); !e.made[dir] {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		if len(e.made) > 1000 {
			clear(e.made)
		}
		e.made[dir] = true
	}
	if err := os.WriteFile(whole, b, 0o600); err != nil {
		return err
	}
	line := fmt.Appendf(nil, "%x  %s\n", sha256.Sum256(b), path)
	_, _ = e.sums.Write(line)
	_, err := e.list.Write(line)
	return err
}

// bundle writes a bundle's entries and events. A part of the log that is gone is left out, for the verifier
// to tell of.
func (e *exporter) bundle(ctx context.Context, n int64, width int) error {
	var entries, ids []byte
	err := e.st.Read(ctx, func(tx *store.Tx) error {
		return tx.QueryRow(ctx, `select entries, event_ids from audit_bundle where n = $1`, n).Scan(&entries, &ids)
	})
	if store.NoRow(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read bundle %d: %w", n, err)
	}
	list, err := ParseBundle(entries)
	if err != nil {
		list = nil
	} else if len(list) > width {
		cut := 0
		for _, entry := range list[:width] {
			cut += 2 + len(entry)
		}
		entries, list = entries[:cut], list[:width]
	}
	path := TilePath{Entries: true, N: n, Width: width}.String()
	if err := e.file(path, entries); err != nil {
		return err
	}
	named, err := ParseEventIDs(ids[:min(len(ids), 16*width)/16*16])
	if err != nil {
		return err
	}
	b, err := e.events(ctx, n, list, named)
	if err != nil {
		return err
	}
	return e.file(ExportBodiesPath(n), b)
}

// storedBody is what the table has of an event.
type storedBody struct{ salt, body []byte }

// events makes the lines of a bundle's events. A row is of a leaf if it has that leaf's id and number.
func (e *exporter) events(ctx context.Context, n int64, entries [][]byte, ids []string) ([]byte, error) {
	found := make(map[string]storedBody, len(ids))
	if len(ids) > 0 {
		args := make([]any, len(ids))
		for i, id := range ids {
			args[i] = id
		}
		args = store.Padded(args, 0)
		err := e.st.Read(ctx, func(tx *store.Tx) error {
			return tx.Each(ctx, func(scan func(...any) error) error {
				var id, writer, body string
				var counter int64
				var salt []byte
				if err := scan(&id, &writer, &counter, &salt, &body); err != nil {
					return err
				}
				found[fmt.Sprint(id, writer, counter)] = storedBody{salt, []byte(body)}
				return nil
			}, `select id, writer, counter, salt, body from "AuditLog" where id in (`+store.Placeholders(1, len(args))+`)`, args...)
		})
		if err != nil {
			return nil, fmt.Errorf("read the events of bundle %d: %w", n, err)
		}
	}
	var b bytes.Buffer
	out := json.NewEncoder(&b)
	out.SetEscapeHTML(false)
	for i, id := range ids {
		line := ExportedEvent{Leaf: n*tileWidth + int64(i), ID: id}
		if i < len(entries) {
			if env, err := ParseEnvelope(entries[i]); err == nil {
				if s, ok := found[fmt.Sprint(id, env.Writer, env.Counter)]; ok && len(s.body) > 0 {
					line.Salt = hex.EncodeToString(s.salt)
					if utf8.Valid(s.body) {
						line.Body = string(s.body)
					} else {
						line.BodyBase64 = s.body
					}
				}
			}
		}
		if line.Body == "" && line.BodyBase64 == nil {
			e.m.Removed++
		} else {
			e.m.Bodies++
		}
		if err := out.Encode(line); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), nil
}

// tiles writes the hash tiles of a tree of a size, as they are stored.
func (e *exporter) tiles(ctx context.Context, size int64) error {
	for level := 0; level == 0 || size>>(tileHeight*level) > 0; level++ {
		last, width := widthAt(size, level)
		if width > 0 {
			last++
		}
		for from := int64(0); from < last; from += 64 {
			err := e.st.Read(ctx, func(tx *store.Tx) error {
				return tx.Each(ctx, func(scan func(...any) error) error {
					t := TilePath{Level: level, Width: tileWidth}
					var hashes []byte
					if err := scan(&t.N, &hashes); err != nil {
						return err
					}
					if t.N == last-1 && width > 0 {
						t.Width = width
					}
					return e.file(t.String(), hashes[:min(len(hashes), t.Width*tlog.HashSize)])
				}, `select n, hashes from audit_tile where level = $1 and n >= $2 and n < $3 order by n`, level, from, min(last, from+64))
			})
			if err != nil {
				return fmt.Errorf("read tiles: %w", err)
			}
		}
	}
	return nil
}

// rest writes the key history, the kept checkpoints and what was rejected.
func (e *exporter) rest(ctx context.Context, size int64) error {
	history, err := e.log.LogKeys(ctx)
	if err != nil {
		return err
	}
	keys := make([]ExportedKey, len(history))
	for i, k := range history {
		keys[i] = ExportedKey{k.KeyID, k.Verifier, k.FirstSize, k.FirstAt}
	}
	text, err := json.MarshalIndent(keys, "", "  ")
	if err != nil {
		return err
	}
	if err := e.file(ExportKeysFile, append(text, '\n')); err != nil {
		return err
	}
	var b bytes.Buffer
	out := json.NewEncoder(&b)
	out.SetEscapeHTML(false)
	err = e.st.Read(ctx, func(tx *store.Tx) error {
		return tx.Each(ctx, func(scan func(...any) error) error {
			var c Checkpoint
			if err := c.scan(scan); err != nil {
				return err
			}
			return out.Encode(ExportedCheckpoint{c.Size, c.Time, c.KeyID, c.Link, c.Note})
		}, `select `+checkpointColumns+` from audit_checkpoint where size <= $1 order by size`, size)
	})
	if err != nil {
		return fmt.Errorf("read checkpoints: %w", err)
	}
	if err := e.file(ExportCheckpointsFile, b.Bytes()); err != nil {
		return err
	}
	var rejected bytes.Buffer
	out = json.NewEncoder(&rejected)
	err = e.st.Read(ctx, func(tx *store.Tx) error {
		return tx.Each(ctx, func(scan func(...any) error) error {
			var r ExportedRejection
			if err := scan(store.Time(&r.At), &r.Reason, &r.Writer, &r.Counter, &r.EventID, &r.Envelope, &r.MAC); err != nil {
				return err
			}
			return out.Encode(r)
		}, `select at, reason, writer, counter, event_id, envelope, mac from audit_rejected order by at, id`)
	})
	if err != nil {
		return fmt.Errorf("read what was rejected: %w", err)
	}
	return e.file(ExportRejectedFile, rejected.Bytes())
}

// unchanged makes sure that nothing has been removed lawfully, meanwhile, by an intent that the export does not
// have: it would look unlawful.
func (e *exporter) unchanged(ctx context.Context, size int64) error {
	if e.m.Removed == 0 {
		return nil
	}
	since := FirstID(e.m.CreatedAt.Add(-time.Hour))
	for _, action := range []string{"audit.retention.intended", "audit.event.redaction_intended"} {
		var late bool
		err := e.st.Read(ctx, func(tx *store.Tx) error {
			var rows []run
			err := tx.Each(ctx, func(scan func(...any) error) error {
				var r run
				err := scan(&r.writer, &r.counter)
				rows = append(rows, r)
				return err
			}, `select writer, counter from "AuditLog" where action = $1 and id >= $2 order by id desc limit 1000`, action, since)
			if err != nil {
				return err
			}
			for _, r := range rows {
				before, leaf, err := sealedOf(ctx, tx, r.writer, r.counter)
				if err != nil {
					return err
				}
				if before.end() > r.counter {
					late = late || leaf+r.counter-before.counter >= size
					continue
				}
				// It waits to be sealed, or is none of ours.
				var n int
				err = tx.QueryRow(ctx, `select count(*) from audit_pending where writer = $1 and counter = $2`, r.writer, r.counter).Scan(&n)
				if err != nil {
					return err
				}
				late = late || n > 0
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("look for intents: %w", err)
		}
		if late {
			return fault.New(fault.Conflict, "something was to be removed lawfully while the log was exported, and the export does not have the intent: export again, into another directory")
		}
	}
	return nil
}
