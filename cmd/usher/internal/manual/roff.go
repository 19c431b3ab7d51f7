package manual

import (
	"strings"

	"github.com/spf13/cobra"
)

// roff writes a page in the language of man(7).
type roff struct{ b strings.Builder }

// request writes a request with its arguments.
func (r *roff) request(name string, args ...string) {
	r.b.WriteString("." + name)
	for _, a := range args {
		r.b.WriteString(` "` + escape(a) + `"`)
	}
	r.b.WriteByte('\n')
}

// text writes a line that is escaped already.
func (r *roff) text(line string) { r.b.WriteString(line + "\n") }

// prose writes paragraphs; indented lines stay as they are.
func (r *roff) prose(text string) {
	for i, paragraph := range strings.Split(text, "\n\n") {
		if i > 0 {
			r.request("PP")
		}
		if strings.HasPrefix(paragraph, " ") {
			r.verbatim(unindent(paragraph))
			continue
		}
		for line := range strings.SplitSeq(paragraph, "\n") {
			r.text(escape(line))
		}
	}
}

func (r *roff) verbatim(text string) {
	r.request("RS")
	r.request("nf")
	for line := range strings.SplitSeq(text, "\n") {
		r.text(escape(line))
	}
	r.request("fi")
	r.request("RE")
}

// item writes a term, escaped already, and what is said of it.
func (r *roff) item(term, what string) {
	r.request("TP")
	r.text(term)
	r.text(escape(what))
}

func (r *roff) options(c *cobra.Command) {
	list := append(own(c), options(c.InheritedFlags())...)
	if len(list) == 0 {
		return
	}
	r.request("SH", "OPTIONS")
	for _, o := range list {
		term := `\fB` + escape(o.long) + `\fP`
		if o.short != "" {
			term = `\fB` + escape(o.short) + `\fP, ` + term
		}
		if o.value != "" {
			term += ` \fI` + escape(o.value) + `\fP`
		}
		r.item(term, o.usage)
	}
}

// escape makes text harmless to roff: hyphens that can be copied, no escapes, and no
// request at the beginning of a line.
func escape(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`, `"`, `\(dq`, "’", "'", "…", "...", "–", `\(en`).Replace(text)
	if strings.HasPrefix(text, ".") || strings.HasPrefix(text, "'") {
		text = `\&` + text
	}
	return text
}
