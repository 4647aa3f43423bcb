package verify

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"sealpost/audit"
)

// Export is a log as `sealpost audit export` has written it.
func Export(dir string) Source { return export{dir} }

// IsExport tells whether a directory is one.
func IsExport(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, audit.ExportManifestFile))
	return err == nil
}

type export struct{ dir string }

// maxExportFile bounds a file that is read at once: a bundle of 256 events has some hundred KB, with the largest
// bodies 5 MB.
const maxExportFile = 64 << 20

// file reads one; nil where it is missing. There are thousands of them, so it makes no call more than it has to.
func (e export) file(path string) ([]byte, error) {
	f, err := os.Open(filepath.Join(e.dir, filepath.FromSlash(path)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	info, err := f.Stat()
	if err == nil && info.Size() > maxExportFile {
		err = fmt.Errorf("%s has %d bytes, at most %d are read", path, info.Size(), maxExportFile)
	}
	if err != nil {
		return nil, err
	}
	b := make([]byte, info.Size())
	_, err = io.ReadFull(f, b)
	return b, err
}

// Head is that of the checkpoint that the export ends with: the manifest only says how it came about.
func (e export) Head(context.Context) (Head, error) {
	text, err := e.file(audit.ExportManifestFile)
	if err != nil {
		return Head{}, err
	}
	var m audit.ExportManifest
	if err := json.Unmarshal(text, &m); err != nil || m.Format != audit.ExportFormat {
		return Head{}, fmt.Errorf("%s has no %s of the form %s: an export that broke off has none", e.dir, audit.ExportManifestFile, audit.ExportFormat)
	}
	c, err := e.checkpoint()
	if err != nil {
		return Head{}, err
	}
	return Head{Origin: c.Origin, Size: c.Size, Root: c.Root, Made: m.CreatedAt}, nil
}

func (e export) checkpoint() (audit.Checkpoint, error) {
	signed, err := e.file(audit.ExportCheckpointFile)
	if err != nil {
		return audit.Checkpoint{}, err
	}
	text, _, _ := strings.Cut(string(signed), "\n\n")
	c, err := audit.ParseCheckpoint(text + "\n")
	c.Note = string(signed)
	return c, err
}

func (e export) Keys(context.Context) (list []audit.LogKey, err error) {
	text, err := e.file(audit.ExportKeysFile)
	if err != nil || text == nil {
		return nil, err
	}
	var keys []audit.ExportedKey
	if err := json.Unmarshal(text, &keys); err != nil {
		return nil, fmt.Errorf("%s: %w", audit.ExportKeysFile, err)
	}
	for _, k := range keys {
		list = append(list, audit.LogKey{KeyID: k.KeyID, Verifier: k.VerifierKey, FirstSize: k.FirstSize, FirstAt: k.FirstAt})
	}
	return list, nil
}

// Checkpoints are the kept ones, of which the last is the export's own: what the file "checkpoint" says counts.
func (e export) Checkpoints(context.Context) (list []KeptCheckpoint, err error) {
	last, err := e.checkpoint()
	if err != nil {
		return nil, err
	}
	text, err := e.file(audit.ExportCheckpointsFile)
	if err != nil {
		return nil, err
	}
	for line := range bytes.Lines(text) {
		var c audit.ExportedCheckpoint
		if err := json.Unmarshal(line, &c); err != nil {
			return nil, fmt.Errorf("%s: %w", audit.ExportCheckpointsFile, err)
		}
		if c.Size == last.Size {
			c.Note, c.Time = last.Note, last.Time
			last.Size = -1
		}
		list = append(list, KeptCheckpoint{Size: c.Size, Time: c.Time, KeyID: c.KeyID, Note: c.Note, Link: c.Link})
	}
	if last.Size >= 0 {
		list = append(list, KeptCheckpoint{Size: last.Size, Time: last.Time, Note: last.Note})
	}
	return list, nil
}

// tile reads a tile: the full one, or the partial one of the log's end.
func (e export) tile(size int64, t audit.TilePath) ([]byte, error) {
	b, err := e.file(t.String())
	if b != nil || err != nil {
		return b, err
	}
	t.Width = int(size >> (8 * t.Level) % bundleWidth)
	if t.Width == 0 {
		return nil, nil
	}
	return e.file(t.String())
}

func (e export) size() (int64, error) {
	c, err := e.checkpoint()
	return c.Size, err
}

func (e export) Bundles(_ context.Context, from, to int64, fn func(Bundle) error) error {
	size, err := e.size()
	if err != nil {
		return err
	}
	for n := from; n < to; n++ {
		b, err := e.tile(size, audit.TilePath{Entries: true, N: n, Width: bundleWidth})
		if err != nil {
			return err
		}
		if b == nil {
			continue
		}
		if err := fn(Bundle{N: n, Entries: b}); err != nil {
			return err
		}
	}
	return nil
}

func (e export) Tiles(_ context.Context, level int, from, to int64, fn func(int64, []byte) error) error {
	size, err := e.size()
	if err != nil {
		return err
	}
	for n := from; n < to; n++ {
		b, err := e.tile(size, audit.TilePath{Level: level, N: n, Width: bundleWidth})
		if err != nil {
			return err
		}
		if b == nil {
			continue
		}
		if err := fn(n, b[:len(b)/tlog.HashSize*tlog.HashSize]); err != nil {
			return err
		}
	}
	return nil
}

func (e export) Segments(_ context.Context, size int64) (list []Segment, err error) {
	bundles := (size + bundleWidth - 1) / bundleWidth
	for from := int64(0); from < bundles; from += chunkBundles {
		list = append(list, Segment{from: from, to: min(bundles, from+chunkBundles)})
	}
	return list, nil
}

func (e export) Rows(_ context.Context, s Segment, fn func(*Row) error) error {
	var row Row
	for n := s.from; n < s.to; n++ {
		b, err := e.file(audit.ExportBodiesPath(n))
		if err != nil {
			return err
		}
		for line := 0; len(b) > 0; line++ {
			end := bytes.IndexByte(b, '\n')
			if end < 0 {
				end = len(b) - 1
			}
			there, err := row.read(b[:end+1])
			if err != nil {
				return fmt.Errorf("%s, line %d: %w", audit.ExportBodiesPath(n), line+1, err)
			}
			b = b[end+1:]
			if row.Leaf/bundleWidth != n {
				return fmt.Errorf("%s, line %d: leaf %d belongs in another file", audit.ExportBodiesPath(n), line+1, row.Leaf)
			}
			if !there {
				continue
			}
			if err := fn(&row); err != nil {
				return err
			}
		}
	}
	return nil
}

// EventID gives the id that is with a leaf, whether its event is still there or not.
func (e export) EventID(_ context.Context, leaf int64) string {
	b, err := e.file(audit.ExportBodiesPath(leaf / bundleWidth))
	if err != nil {
		return ""
	}
	for line := range bytes.Lines(b) {
		var event audit.ExportedEvent
		if json.Unmarshal(line, &event) == nil && event.Leaf == leaf {
			return event.ID
		}
	}
	return ""
}

// read reads a line of an export's events. there: it has a body. What the program itself has written is read
// in one pass, since there are millions of these; anything else as the JSON it is.
func (r *Row) read(line []byte) (there bool, err error) {
	p := scanner{b: line}
	var leaf, id, salt []byte
	if p.lit(`{"leaf":`) {
		start := p.at
		for p.at < len(line) && line[p.at] >= '0' && line[p.at] <= '9' {
			p.at++
		}
		leaf = line[start:p.at]
		if p.member("id", &id, true) && p.member("salt", &salt, true) && p.lit(`,"body":"`) {
			if body, ok := unescape(r.Body[:0], line[p.at:]); ok {
				if r.Leaf, err = strconv.ParseInt(string(leaf), 10, 64); err == nil {
					r.ID, r.Body = string(id), body
					r.Salt, err = hex.AppendDecode(r.Salt[:0], salt)
				}
				return true, err
			}
		}
	}
	e := audit.ExportedEvent{Leaf: -1}
	if err := json.Unmarshal(line, &e); err != nil {
		return false, err
	}
	if e.Leaf < 0 {
		return false, errors.New("it has no leaf")
	}
	r.Leaf, r.ID, r.Body = e.Leaf, e.ID, append(r.Body[:0], e.Body...)
	if e.BodyBase64 != nil {
		r.Body = append(r.Body[:0], e.BodyBase64...)
	}
	r.Salt, err = hex.AppendDecode(r.Salt[:0], []byte(e.Salt))
	return len(r.Body) > 0, err
}

// unescape reads the text that ends a line, of whose escapes only those of a body are known: quotes and
// backslashes. What it lets pass beside them does not hold against the hash.
func unescape(to, b []byte) (text []byte, ok bool) {
	b, ok = bytes.CutSuffix(bytes.TrimSuffix(b, []byte("\n")), []byte(`"}`))
	for ok {
		i := bytes.IndexByte(b, '\\')
		if i < 0 {
			return append(to, b...), true
		}
		if i+1 >= len(b) || b[i+1] != '"' && b[i+1] != '\\' {
			break
		}
		to = append(append(to, b[:i]...), b[i+1])
		b = b[i+2:]
	}
	return to, false
}

func (e export) Rejected(context.Context) (list []Rejected, err error) {
	text, err := e.file(audit.ExportRejectedFile)
	if err != nil {
		return nil, err
	}
	for line := range bytes.Lines(text) {
		var r audit.ExportedRejection
		if err := json.Unmarshal(line, &r); err != nil {
			return nil, fmt.Errorf("%s: %w", audit.ExportRejectedFile, err)
		}
		if list = append(list, Rejected{r.At, r.Reason, r.Writer, r.Counter, r.EventID}); len(list) == MaxFindings {
			break
		}
	}
	return list, nil
}
