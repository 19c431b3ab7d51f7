package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"usher/cmd/usher/internal/term"
)

// addColourFlag gives all commands --color.
func (p *process) addColourFlag(root *cobra.Command) {
	fl := root.PersistentFlags()
	fl.StringVar(&p.colour, "color", "auto", "`WHEN` to use colours: "+strings.Join(term.Colours(), ", "))
	_ = root.RegisterFlagCompletionFunc("color", cobra.FixedCompletions( // fails for an unknown flag
		term.Colours(), cobra.ShellCompDirectiveNoFileComp))
}

// checkColour refuses an unknown word of --color.
func (p *process) checkColour() error {
	if !slices.Contains(term.Colours(), p.colour) {
		return fmt.Errorf("--color %q is none of %s", p.colour, strings.Join(term.Colours(), ", "))
	}
	return nil
}

// printer prints what a command found out, for a person.
func (p *process) printer() *term.Printer { return term.New(p.stdout, p.colour, p.env) }

// printJSON prints what a command found out, for a machine.
func (p *process) printJSON(v any) error {
	enc := json.NewEncoder(p.stdout)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// hint tells a person something beside the data.
func (p *process) hint(format string, args ...any) {
	fmt.Fprintf(p.stderr, format+"\n", args...)
}
