package bench

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"
)

// verifyEvents is how many events are verified.
const verifyEvents = 1_000_000

// Verified is what exporting a log took, and verifying it as files and in the database.
type Verified struct {
	Dir                     string // of the export
	Export, Files, Database time.Duration
}

// measureVerify is how long it takes to verify a million events. The floor is SHA-256 over the same files, read
// from the system's memory by all processors: whoever verifies has to hash at least what there is.
func measureVerify(ctx context.Context, o Options, name, dir string) (figures []figure, err error) {
	databaseURL := "sqlite:" + filepath.Join(dir, "verify.db")
	if name == "postgres" {
		var drop func() error
		if databaseURL, drop, err = scratchDatabase(ctx, o.Postgres); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, drop()) }()
	}
	v, err := o.Verify(ctx, databaseURL, dir, verifyEvents)
	if err != nil {
		return nil, err
	}
	floor, bytes, err := hashFiles(v.Dir)
	if err != nil {
		return nil, err
	}
	times := func(d time.Duration) string { return fmt.Sprintf("%.1f × the floor", d.Seconds()/floor.Seconds()) }
	return []figure{
		{name: fmt.Sprintf("floor: SHA-256 of the same %d MB", bytes/1e6), value: seconds(floor)},
		{name: fmt.Sprintf("offline verify of %d events", verifyEvents), value: seconds(v.Files), ratio: times(v.Files), hold: "hold ≤ 2 s"},
		{name: "  the same in the database", value: seconds(v.Database), ratio: times(v.Database)},
		{name: "  export of them", value: seconds(v.Export)},
	}, os.RemoveAll(v.Dir)
}

// hashFiles hashes all files of a folder, and tells how long that took and how many bytes they have.
func hashFiles(dir string) (took time.Duration, bytes int64, err error) {
	var paths []string
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil {
		return 0, 0, err
	}
	work := make(chan string)
	var mu sync.Mutex
	var wg sync.WaitGroup
	start := time.Now()
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for path := range work {
				b, e := os.ReadFile(path) //nolint:gosec // our scratch folder
				_ = sha256.Sum256(b)
				mu.Lock()
				bytes, err = bytes+int64(len(b)), errors.Join(err, e)
				mu.Unlock()
			}
		})
	}
	for _, path := range paths {
		work <- path
	}
	close(work)
	wg.Wait()
	return time.Since(start), bytes, err
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }
