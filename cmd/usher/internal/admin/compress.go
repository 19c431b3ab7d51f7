package admin

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/klauspost/compress/gzip"
)

// worthwhile is the least length of an answer that is compressed, in bytes.
const worthwhile = 1400

// gzipped is what is appended to the ETag of an answer that was: another coding is another
// answer (RFC 9110 §8.8.3.3).
const gzipped = "-gzip"

// compressor compresses an answer in JSON that is long enough, if the client takes that.
// close must be called at the end.
type compressor struct {
	http.ResponseWriter
	wanted  bool
	code    int
	decided bool
	gz      *gzip.Writer
}

func compress(w http.ResponseWriter, r *http.Request) *compressor {
	return &compressor{ResponseWriter: w, wanted: acceptsGzip(r.Header.Values("Accept-Encoding"))}
}

// acceptsGzip says whether a client takes gzip: it names it, or everything, and not with a
// quality of 0.
func acceptsGzip(fields []string) bool {
	other := false
	for _, coding := range strings.Split(strings.Join(fields, ","), ",") {
		name, params, _ := strings.Cut(coding, ";")
		takes := true
		if q, ok := strings.CutPrefix(strings.TrimSpace(strings.ToLower(params)), "q="); ok {
			value, err := strconv.ParseFloat(q, 64)
			takes = err == nil && value > 0
		}
		switch name = strings.TrimSpace(strings.ToLower(name)); name {
		case "gzip", "x-gzip":
			return takes
		case "*":
			other = takes
		}
	}
	return other
}

// WriteHeader implements http.ResponseWriter. The head leaves with the first bytes, whose
// number decides.
func (c *compressor) WriteHeader(code int) {
	if c.code == 0 {
		c.code = code
	}
}

// Write implements http.ResponseWriter. The first call decides for the whole answer.
func (c *compressor) Write(p []byte) (int, error) {
	if !c.decided {
		c.begin(len(p))
	}
	if c.gz != nil {
		return c.gz.Write(p)
	}
	return c.ResponseWriter.Write(p)
}

// begin sends the head.
func (c *compressor) begin(length int) {
	c.decided = true
	h := c.Header()
	if kind := h.Get("Content-Type"); kind == jsonType {
		h.Add("Vary", "Accept-Encoding")
		if c.wanted && length >= worthwhile {
			h.Set("Content-Encoding", "gzip")
			h.Del("Content-Length")
			if tag := h.Get("ETag"); tag != "" {
				h.Set("ETag", strings.TrimSuffix(tag, `"`)+gzipped+`"`)
			}
			c.gz, _ = gzip.NewWriterLevel(c.ResponseWriter, gzip.BestSpeed) // the level is a good one
		}
	}
	if c.code != 0 {
		c.ResponseWriter.WriteHeader(c.code)
	}
}

// close ends the answer.
func (c *compressor) close() {
	if !c.decided {
		c.begin(0)
	}
	if c.gz != nil {
		_ = c.gz.Close() // the client is gone if this fails
	}
}

// FlushError sends what was written so far; see http.ResponseController.
func (c *compressor) FlushError() error {
	if !c.decided {
		c.begin(0)
	}
	if c.gz != nil {
		if err := c.gz.Flush(); err != nil {
			return err
		}
	}
	return http.NewResponseController(c.ResponseWriter).Flush()
}

// Unwrap is for http.ResponseController.
func (c *compressor) Unwrap() http.ResponseWriter { return c.ResponseWriter }
