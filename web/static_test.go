package web_test

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sealpost/web"
)

// What others wrote is what SHA256SUMS says, has its licence beside it, and stands in the list.
func TestVendoredFiles(t *testing.T) {
	const dir = "static/vendor"
	sums := map[string]string{}
	f, err := os.Open(filepath.Join(dir, "SHA256SUMS"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // only read
	for lines := bufio.NewScanner(f); lines.Scan(); {
		sum, name, ok := strings.Cut(lines.Text(), "  ")
		if !ok {
			t.Fatalf("not a line of sha256sum: %q", lines.Text())
		}
		sums[name] = sum
	}
	list, err := os.ReadFile(filepath.Join(dir, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	licences := map[string]string{"htmx.min.js": "htmx.LICENSE", "idiomorph-ext.min.js": "idiomorph.LICENSE", "pico.min.css": "pico.LICENSE"}
	files, err := filepath.Glob(filepath.Join(dir, "*.min.*"))
	if err != nil || len(files) != len(sums) || len(files) != len(licences) {
		t.Fatalf("%d files, %d sums, %v", len(files), len(sums), err)
	}
	for _, path := range files {
		name := filepath.Base(path)
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if sum := sha256.Sum256(b); hex.EncodeToString(sum[:]) != sums[name] {
			t.Errorf("%s has another sum: %x", name, sum)
		}
		if licence, err := os.ReadFile(filepath.Join(dir, licences[name])); err != nil || len(licence) < 500 {
			t.Errorf("%s has no licence: %v", name, err)
		}
		if !strings.Contains(string(list), "`"+name+"`") {
			t.Errorf("%s is not in the list", name)
		}
	}
}

func TestStaticFiles(t *testing.T) {
	s := pageServer(t)
	for name, contentType := range map[string]string{
		"app.css": "text/css; charset=utf-8", "app.js": "text/javascript; charset=utf-8", "icon.svg": "image/svg+xml",
		"vendor/htmx.min.js": "text/javascript; charset=utf-8", "vendor/pico.min.css": "text/css; charset=utf-8",
	} {
		address := web.StaticAddress(s.Web, name)
		if !regexp.MustCompile(`^/static/.+\.[0-9a-f]{16}\.(css|js|svg)$`).MatchString(address) {
			t.Errorf("%s is at %q", name, address)
		}
		a := s.Do(t, "GET", address, "", nil).Want(t, 200)
		b, err := os.ReadFile("static/" + name)
		if err != nil || a.Text != string(b) {
			t.Errorf("%s is not what is served: %v", name, err)
		}
		if a.Header.Get("Content-Type") != contentType || a.Header.Get("Cache-Control") != "public, max-age=31536000, immutable" ||
			a.Header.Get("X-Content-Type-Options") != "nosniff" || a.Header.Get("Set-Cookie") != "" {
			t.Errorf("%s has the headers %v", name, a.Header)
		}
		if head := s.Do(t, "HEAD", address, "", nil).Want(t, 200); head.Text != "" || head.Header.Get("Content-Length") != a.Header.Get("Content-Length") {
			t.Errorf("HEAD of %s: %v", name, head.Header)
		}
		s.Do(t, "GET", strings.Replace(address, ".", ".0", 1), "", nil).Want(t, 404)
	}
	for _, path := range []string{"/static/", "/static/vendor/SHA256SUMS", "/static/vendor/README.md", "/static/vendor/pico.LICENSE", "/static/app.js"} {
		s.Do(t, "GET", path, "", nil).Want(t, 404)
	}
}

// The policy allows no inline script and no inline style; nor does a template have any.
func TestTemplatesKeepToThePolicy(t *testing.T) {
	files, err := filepath.Glob("templates/*.html")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d templates, %v", len(files), err)
	}
	for _, path := range files {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		text := string(b)
		for what, wrong := range map[string]*regexp.Regexp{
			"an inline script":        regexp.MustCompile(`<script(\s+defer)?>|<script[^>]*>[^<]`),
			"an inline style":         regexp.MustCompile(`<style|\sstyle=`),
			"a handler":               regexp.MustCompile(`\s(on|hx-on)[a-z:-]*=`),
			"somebody else's address": regexp.MustCompile(`(src|href|action)="(https?:)?//`),
			"code for htmx":           regexp.MustCompile(`hx-vals="js:|hx-trigger="[^"]*\[`),
		} {
			if found := wrong.FindString(text); found != "" {
				t.Errorf("%s has %s: %s", path, what, found)
			}
		}
		// Each field has a label, and each of them a field.
		for _, field := range regexp.MustCompile(`<(?:input|select)[^>]*>`).FindAllString(text, -1) {
			id := regexp.MustCompile(`\sid="([^"]+)"`).FindStringSubmatch(field)
			if strings.Contains(field, `type="hidden"`) || strings.Contains(field, `type="checkbox"`) {
				continue
			}
			if id == nil || !strings.Contains(text, `<label for="`+id[1]+`">`) {
				t.Errorf("%s has a field without a label: %s", path, field)
			}
		}
		for _, form := range regexp.MustCompile(`<form[^>]*method="get"[^>]*>`).FindAllString(text, -1) {
			if !strings.Contains(form, `action="/jobs"`) && !strings.Contains(form, `action="/audit"`) {
				t.Errorf("%s sends a form in an address: %s", path, form)
			}
		}
	}
}
