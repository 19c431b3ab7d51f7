package term

import (
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
)

// Style is how a piece of text looks; Plain is as everything else.
type Style uint8

// The styles.
const (
	Plain Style = iota
	Bold
	Dim
	Good
	Warn
	Bad
	Accent
	Inverse
)

// code returns the SGR parameters of a style: those of the sixteen colours, which every
// terminal's theme makes readable.
func (s Style) code() string {
	return [...]string{"", "1", "2", "32", "33", "31", "36", "7"}[s]
}

// Printer writes text for a person.
type Printer struct {
	w io.Writer
	// width is that of the terminal in columns; 0: there is none, lines are as long as
	// they are.
	width  int
	colour bool
}

// Colours returns the words of --color.
func Colours() []string { return []string{"auto", "always", "never"} }

// New returns a Printer to w. The mode is one of Colours; auto means a terminal that has
// colours, unless NO_COLOR is set.
func New(w io.Writer, mode string, env func(string) (string, bool)) *Printer {
	p := &Printer{w: w, width: widthOf(w)}
	no, _ := env("NO_COLOR")
	kind, _ := env("TERM")
	switch mode {
	case "always":
		p.colour = true
	case "auto":
		p.colour = IsTerminal(w) && no == "" && kind != "dumb"
	}
	return p
}

// IsTerminal says whether w (or an io.Reader) is a terminal.
func IsTerminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func widthOf(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok {
		return 0
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return width
}

// Width is the terminal's, in columns; 0: there is none.
func (p *Printer) Width() int { return p.width }

// Colour says whether styles are seen.
func (p *Printer) Colour() bool { return p.colour }

// WithWidth returns a Printer for lines of another width.
func (p *Printer) WithWidth(columns int) *Printer {
	q := *p
	q.width = columns
	return &q
}

// Paint returns text in a style, cleaned.
func (p *Printer) Paint(s Style, text string) string {
	text = Clean(text)
	if !p.colour || s == Plain || text == "" {
		return text
	}
	return "\x1b[" + s.code() + "m" + text + "\x1b[0m"
}

// Printf writes formatted text; what is not from this program is to be cleaned, or painted,
// by the caller.
func (p *Printer) Printf(format string, args ...any) error {
	_, err := fmt.Fprintf(p.w, format, args...)
	return err
}

// Clean makes text harmless for a terminal: control characters, with which a name could
// rewrite the screen, become a question mark, line ends a space.
func Clean(text string) string {
	if !strings.ContainsFunc(text, harmful) && utf8.ValidString(text) {
		return text
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			return ' '
		case harmful(r) || r == utf8.RuneError:
			return '?'
		}
		return r
	}, text)
}

// harmful finds C0, DEL, C1, and the marks that turn the direction of text around.
func harmful(r rune) bool {
	return r < 0x20 || r >= 0x7f && r <= 0x9f || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069
}

// Width is how many columns text takes.
func Width(text string) int { return utf8.RuneCountInString(text) }

// Cut shortens text to columns; an ellipsis stands for the rest.
func Cut(text string, columns int) string {
	if Width(text) <= columns {
		return text
	}
	if columns <= 0 {
		return ""
	}
	runes := []rune(text)
	return string(runes[:columns-1]) + "…"
}

// Fit shortens a line with styles in it to the terminal's width.
func (p *Printer) Fit(line string) string {
	if p.width == 0 || Width(line) <= p.width {
		return line
	}
	var b strings.Builder
	columns, styled := 0, false
	for i := 0; i < len(line); {
		if line[i] == 0x1b { // ours: Paint takes out all others
			end := i + strings.IndexByte(line[i:], 'm') + 1
			b.WriteString(line[i:end])
			i, styled = end, true
			continue
		}
		_, size := utf8.DecodeRuneInString(line[i:])
		if columns++; columns > p.width {
			if styled {
				b.WriteString("\x1b[0m")
			}
			break
		}
		b.WriteString(line[i : i+size])
		i += size
	}
	return b.String()
}
