package dashboard_test

import (
	"bytes"
	"encoding/json"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"usher/cmd/usher/internal/admin/dashboard"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ask asks the handler for a path.
func ask(t *testing.T, path string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	dashboard.Handler().ServeHTTP(w, r)
	return w
}

func body(t *testing.T, r *httptest.ResponseRecorder) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Each answer forbids what is not the dashboard's own, and is asked for again each time.
func TestHeaders(t *testing.T) {
	for path, kind := range map[string]string{
		"/": "text/html; charset=utf-8", "/assets/js/main.js": "text/javascript; charset=utf-8",
		"/assets/css/base.css": "text/css; charset=utf-8", "/assets/favicon.svg": "image/svg+xml",
		"/assets/vendor/uplot/LICENSE": "text/plain; charset=utf-8",
	} {
		r := ask(t, path)
		want := map[string]string{
			"Content-Type": kind, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-cache",
			"Referrer-Policy": "no-referrer",
			"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; " +
				"img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
		}
		for name, value := range want {
			if got := r.Header().Get(name); got != value {
				t.Errorf("%s: %s is %q, not %q", path, name, got, value)
			}
		}
		if again := ask(t, path, "If-None-Match", r.Header().Get("ETag")); again.Code != http.StatusNotModified {
			t.Errorf("%s, unchanged: %d", path, again.Code)
		}
	}
	for _, path := range []string{
		"/assets/", "/assets/none.js", "/assets/../dashboard.go", "/index.html", "/assets/index.html",
	} {
		if r := ask(t, path); r.Code != http.StatusNotFound {
			t.Errorf("%s: %d, not 404", path, r.Code)
		}
	}
}

// The policy forbids scripts and styles within HTML; none may come to be relied on.
func TestNothingInline(t *testing.T) {
	page := body(t, ask(t, "/"))
	if m := regexp.MustCompile(`(?i)<style|\sstyle=|\son\w+=|javascript:|<script>`).FindString(page); m != "" {
		t.Errorf("the page has %q in it", m)
	}
	for _, m := range regexp.MustCompile(`(?:src|href)="([^"#]*)"`).FindAllStringSubmatch(page, -1) {
		if !strings.HasPrefix(m[1], "/assets/") {
			t.Errorf("the page refers to %q", m[1])
		} else if r := ask(t, m[1]); r.Code != http.StatusOK {
			t.Errorf("%s: %d", m[1], r.Code)
		}
	}
}

// What reads HTML from a text would read it from a registry's.
func TestNothingReadsHTML(t *testing.T) {
	never := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|` +
		`createContextualFragment|\beval\b|new Function|srcdoc|setHTML`)
	imports := regexp.MustCompile(`(?m)^import .*?'([^']+)'`)
	err := fs.WalkDir(os.DirFS("static"), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasPrefix(name, "vendor/") || path.Ext(name) == ".svg" {
			return err
		}
		text, err := os.ReadFile(filepath.Join("static", name))
		if err != nil {
			return err
		}
		if lines := bytes.Count(text, []byte("\n")); lines > 400 {
			t.Errorf("%s has %d lines: split it", name, lines)
		}
		if path.Ext(name) != ".js" {
			return nil
		}
		for _, m := range never.FindAllString(string(text), -1) {
			t.Errorf("%s has %q in it", name, m)
		}
		for _, m := range imports.FindAllStringSubmatch(string(text), -1) {
			if _, err := os.Stat(filepath.Join("static", path.Dir(name), m[1])); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// uPlot is npm's, to the byte: npm ci has checked it against the hash in package-lock.json.
func TestVendored(t *testing.T) {
	if testing.Short() {
		t.Skip("it needs what make e2e gets")
	}
	tools := filepath.FromSlash("../../../../../deploy/tools/browser/")
	for name, of := range map[string]string{
		"LICENSE": "LICENSE", "uPlot.esm.js": "dist/uPlot.esm.js", "uPlot.min.css": "dist/uPlot.min.css",
	} {
		ours, err := os.ReadFile(filepath.Join("static/vendor/uplot", name))
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := os.ReadFile(filepath.Join(tools, "node_modules/uplot", of))
		if err != nil {
			t.Fatalf("%v: make e2e gets it", err)
		}
		if !bytes.Equal(ours, theirs) {
			t.Errorf("%s is not npm's: make vendor-uplot", name)
		}
	}
	var lock struct {
		Packages map[string]struct{ Version, Integrity string }
	}
	text, err := os.ReadFile(filepath.Join(tools, "package-lock.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &lock); err != nil {
		t.Fatal(err)
	}
	p := lock.Packages["node_modules/uplot"]
	note, err := os.ReadFile("static/vendor/uplot/README.md")
	if err != nil {
		t.Fatal(err)
	}
	if p.Integrity == "" || !strings.HasPrefix(string(note), "# uPlot "+p.Version+"\n") {
		t.Errorf("the lock file has uPlot %q, with hash %q; its README begins %.20q", p.Version, p.Integrity, note)
	}
}
