// Package dashboard serves the pages that show operators what usher does. They are files
// in the binary: HTML, CSS and ES modules as they are written, which read the admin API.
// Nothing is asked of any other origin, and the policy of the pages forbids it.
package dashboard

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
)

//go:embed static
var static embed.FS

// policy lets a page run the scripts of its own origin alone: text that a registry hands in
// cannot become a script, and no other site can frame the buttons.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; " +
	"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// file is one file as it is sent.
type file struct {
	kind, tag string
	body      []byte
}

// Handler returns the dashboard: the page at / and its files below /assets/. It holds no
// secret, so it is served to whom the API refuses, and asks for the token itself. It may
// be called from any goroutine.
func Handler() http.Handler {
	files := map[string]file{}
	err := fs.WalkDir(static, "static", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := static.ReadFile(name)
		files[pathOf(name)] = newFile(name, body)
		return err
	})
	if err != nil {
		panic(err) // what is in the binary can be read
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { serve(files, w, r) })
}

// pathOf is where a file is found.
func pathOf(name string) string {
	if name == "static/index.html" {
		return "/"
	}
	return "/assets" + strings.TrimPrefix(name, "static")
}

func newFile(name string, body []byte) file {
	sum := sha256.Sum256(body)
	kind := mime.TypeByExtension(path.Ext(name))
	switch path.Ext(name) { // the machine's table may say otherwise
	case ".js":
		kind = "text/javascript; charset=utf-8"
	case ".css":
		kind = "text/css; charset=utf-8"
	case ".html":
		kind = "text/html; charset=utf-8"
	case ".svg":
		kind = "image/svg+xml"
	case "", ".md":
		kind = "text/plain; charset=utf-8"
	}
	return file{kind: kind, tag: `"` + hex.EncodeToString(sum[:12]) + `"`, body: body}
}

func serve(files map[string]file, w http.ResponseWriter, r *http.Request) {
	head := w.Header()
	head.Set("Content-Security-Policy", policy)
	head.Set("X-Content-Type-Options", "nosniff")
	head.Set("X-Frame-Options", "DENY")
	head.Set("Referrer-Policy", "no-referrer")
	head.Set("Cross-Origin-Opener-Policy", "same-origin")
	head.Set("Cross-Origin-Resource-Policy", "same-origin")
	f, known := files[r.URL.Path]
	if !known {
		http.NotFound(w, r)
		return
	}
	// Asked again each time, and answered with 304: a new usher brings new files.
	head.Set("Cache-Control", "no-cache")
	head.Set("ETag", f.tag)
	if r.Header.Get("If-None-Match") == f.tag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	head.Set("Content-Type", f.kind)
	_, _ = w.Write(f.body) // the client is gone if this fails
}
