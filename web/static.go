package web

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"
	"sync"

	"sealpost/fault"
)

// The pages' scripts and styles are in the program, ours and others' (static/vendor). Each is served
// under an address that has its hash in it, so that browsers keep it for good and a new release is
// seen at once.
//
//go:embed static/*.* static/vendor/*.js static/vendor/*.css
var staticFiles embed.FS

const (
	staticPath = "/static/"
	hashDigits = 16 // of an address: 64 bits are enough to tell releases apart
)

// asset is one file as it is served.
type asset struct {
	contentType []string
	body        []byte
}

// assets are the files by address, and the addresses by file name.
type assets struct {
	served  map[string]asset  // "app.0123456789abcdef.css"
	address map[string]string // "app.css": "/static/app.0123456789abcdef.css"
}

// loadAssets reads the files, once for all servers of a process.
var loadAssets = sync.OnceValues(func() (assets, error) {
	a := assets{served: map[string]asset{}, address: map[string]string{}}
	err := fs.WalkDir(staticFiles, "static", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		body, err := staticFiles.ReadFile(name)
		if err != nil {
			return err
		}
		name = strings.TrimPrefix(name, "static/")
		extension := path.Ext(name)
		contentType, ok := staticTypes[extension]
		if !ok {
			return fmt.Errorf("%s: nobody said of what type that is", name)
		}
		sum := sha256.Sum256(body)
		hashed := strings.TrimSuffix(name, extension) + "." + hex.EncodeToString(sum[:])[:hashDigits] + extension
		a.served[hashed] = asset{[]string{contentType}, body}
		a.address[name] = staticPath + hashed
		return nil
	})
	return a, err
})

// staticTypes say what a file is. The machine's own list of types is not asked: machines differ.
var staticTypes = map[string]string{
	".css": mime.FormatMediaType("text/css", utf8Charset),
	".js":  mime.FormatMediaType("text/javascript", utf8Charset),
	".svg": "image/svg+xml",
}

var (
	utf8Charset = map[string]string{"charset": "utf-8"}
	forGood     = []string{"public, max-age=31536000, immutable"}
)

// of gives the address of a file, for templates.
func (a assets) of(name string) (string, error) {
	address, ok := a.address[name]
	if !ok {
		return "", fmt.Errorf("there is no file %s", name)
	}
	return address, nil
}

// static handles GET /static/{file...}.
func (s *Server) static(p *page) error {
	file, ok := s.assets.served[p.r.PathValue("file")]
	if !ok {
		return fault.New(fault.NotFound, "there is nothing at this address")
	}
	h := p.w.Header()
	h["Content-Type"] = file.contentType
	h["Cache-Control"] = forGood
	h["Content-Length"] = []string{strconv.Itoa(len(file.body))}
	h["Content-Security-Policy"] = apiPolicy // what is looked at by itself needs nothing
	if p.r.Method == http.MethodHead {
		return nil
	}
	_, _ = p.w.Write(file.body)
	return nil
}
