package fabio

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
)

// Kind says what became of a part of the input, the most urgent first.
type Kind string

// The kinds of notes.
const (
	// Todo is what works only after somebody did something by hand.
	Todo Kind = "todo"
	// Refused is a rule that usher does not serve.
	Refused Kind = "refused"
	// Differs is served, but not quite as Fabio does.
	Differs Kind = "differs"
	// Dropped has no equivalent.
	Dropped Kind = "dropped"
	// Taken is in the output, unchanged in meaning.
	Taken Kind = "taken"
)

// headings are the kinds in the order of the report.
var headings = []struct {
	kind  Kind
	title string
}{
	{Todo, "To do by hand"},
	{Refused, "Refused by usher"},
	{Differs, "Works differently"},
	{Dropped, "Without an equivalent"},
	{Taken, "Taken over"},
}

// Note is what became of one part of the input.
type Note struct {
	Kind Kind `json:"kind"`
	// Where is a file and line, a key, or a service with its tag.
	Where string `json:"where"`
	// Text is one sentence, without a full stop.
	Text string `json:"text"`
}

// notes collects the report.
type notes struct{ list []Note }

// add makes a note; one that was made already is not repeated.
func (n *notes) add(kind Kind, where, format string, args ...any) {
	note := Note{kind, where, fmt.Sprintf(format, args...)}
	if !slices.Contains(n.list, note) {
		n.list = append(n.list, note)
	}
}

// WriteText writes the report for a person, grouped by kind. A failed write is not
// told: the report goes to a terminal.
func WriteText(w io.Writer, list []Note) {
	for _, h := range headings {
		first := true
		for _, n := range list {
			if n.Kind != h.kind {
				continue
			}
			if first {
				fmt.Fprintf(w, "%s:\n", h.title)
				first = false
			}
			fmt.Fprintf(w, "  %s: %s\n", n.Where, n.Text)
		}
	}
}

// WriteJSON writes the report as one JSON object with the list of notes.
func WriteJSON(w io.Writer, list []Note) error {
	if list == nil {
		list = []Note{}
	}
	if err := json.NewEncoder(w).Encode(map[string][]Note{"notes": list}); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}
