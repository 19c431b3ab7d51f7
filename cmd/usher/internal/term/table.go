package term

import (
	"slices"
	"strings"
)

// Cell is one field of a table.
type Cell struct {
	Text  string
	Style Style
}

// Table is printed in columns as wide as they must be, or as the terminal lets them.
type Table struct {
	// Header are the titles; a column without one among them has none.
	Header []string
	// Right are the indices of columns that are aligned to the right: numbers.
	Right []int
	rows  [][]Cell
}

// Add appends a row.
func (t *Table) Add(cells ...Cell) { t.rows = append(t.rows, cells) }

// Text makes a plain cell.
func Text(text string) Cell { return Cell{Text: text} }

// Len is the number of rows.
func (t *Table) Len() int { return len(t.rows) }

// gap is the space between two columns, and the least a column is shortened to.
const (
	gap      = 2
	leastCol = 8
)

// Lines lays the table out.
func (p *Printer) Lines(t *Table) []string {
	rows := make([][]Cell, 0, len(t.rows)+1)
	if len(t.Header) > 0 && len(t.rows) > 0 {
		head := make([]Cell, len(t.Header))
		for i, title := range t.Header {
			head[i] = Cell{title, Dim}
		}
		rows = append(rows, head)
	}
	for _, row := range t.rows {
		clean := make([]Cell, len(row))
		for i, c := range row {
			clean[i] = Cell{Clean(c.Text), c.Style}
		}
		rows = append(rows, clean)
	}
	widths := p.fit(natural(rows))
	lines := make([]string, len(rows))
	for i, row := range rows {
		lines[i] = p.line(row, widths, t.Right)
	}
	return lines
}

// Table prints a table.
func (p *Printer) Table(t *Table) error {
	lines := p.Lines(t)
	if len(lines) == 0 {
		return nil
	}
	return p.Printf("%s\n", strings.Join(lines, "\n"))
}

// natural are the widths that columns would like to have.
func natural(rows [][]Cell) (widths []int) {
	for _, row := range rows {
		for i, c := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], Width(c.Text))
		}
	}
	return widths
}

// fit takes from the widest columns until the line fits.
func (p *Printer) fit(widths []int) []int {
	total := gap * max(0, len(widths)-1)
	for _, w := range widths {
		total += w
	}
	for p.width > 0 && total > p.width {
		widest := slices.Max(widths)
		if widest <= leastCol {
			break
		}
		widths[slices.Index(widths, widest)]--
		total--
	}
	return widths
}

func (p *Printer) line(row []Cell, widths, right []int) string {
	var b strings.Builder
	for i, c := range row {
		text := Cut(c.Text, widths[i])
		pad := strings.Repeat(" ", widths[i]-Width(text))
		aligned := slices.Contains(right, i)
		if aligned {
			b.WriteString(pad)
		}
		b.WriteString(p.Paint(c.Style, text))
		if i < len(row)-1 {
			if !aligned {
				b.WriteString(pad)
			}
			b.WriteString(strings.Repeat(" ", gap))
		}
	}
	return strings.TrimRight(b.String(), " ")
}
