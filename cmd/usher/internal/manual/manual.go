// Package manual makes the reference of the commands and their man pages of the commands
// themselves. It only reads them; one goroutine at a time.
package manual

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// commands are root and all commands below it, each before its own; not what cobra makes
// by itself, but for the one word of completion.
func commands(root *cobra.Command) (list []*cobra.Command) {
	root.InitDefaultCompletionCmd()
	var visit func(c *cobra.Command)
	visit = func(c *cobra.Command) {
		if c.Hidden || c.Name() == "help" {
			return
		}
		c.InitDefaultHelpFlag()
		list = append(list, c)
		if c.Name() == "completion" {
			return
		}
		for _, sub := range c.Commands() {
			visit(sub)
		}
	}
	visit(root)
	return list
}

// option is one flag as the manual shows it.
type option struct {
	short, long, value, usage string
}

func options(flags *pflag.FlagSet) (list []option) {
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		o := option{long: "--" + f.Name}
		if f.Shorthand != "" {
			o.short = "-" + f.Shorthand
		}
		o.value, o.usage = pflag.UnquoteUsage(f)
		if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "[]" {
			o.usage += " (default " + f.DefValue + ")"
		}
		list = append(list, o)
	})
	return list
}

// own are the options of a command but for those of all commands.
func own(c *cobra.Command) []option { return options(c.NonInheritedFlags()) }

// Markdown is the reference of all commands.
func Markdown(root *cobra.Command) string {
	var b strings.Builder
	all := commands(root)
	fmt.Fprintf(&b, `# Reference: the commands

Generated from the commands themselves (make reference). Data goes to stdout, messages to
stderr. Every option can be given as an environment variable too: --log-level as
USHER_LOG_LEVEL. Exit codes:

%s

| command | |
|---|---|
`, "- "+strings.Join(exitCodes(), "\n- "))
	for _, c := range all[1:] {
		fmt.Fprintf(&b, "| [%s](#%s) | %s |\n", c.CommandPath(), strings.ReplaceAll(c.CommandPath(), " ", "-"), c.Short)
	}
	fmt.Fprintf(&b, "\nFor all commands:\n")
	writeOptions(&b, options(root.PersistentFlags()))
	for _, c := range all[1:] {
		fmt.Fprintf(&b, "\n## %s\n\n    %s\n", c.CommandPath(), c.UseLine())
		if len(c.Aliases) > 0 {
			fmt.Fprintf(&b, "\nAlso called %s.\n", strings.Join(c.Aliases, ", "))
		}
		text := c.Long
		if text == "" || c.Name() == "completion" {
			text = c.Short + "."
		}
		fmt.Fprintf(&b, "\n%s\n", quoteIndented(text))
		if c.Example != "" {
			fmt.Fprintf(&b, "\n```sh\n%s\n```\n", unindent(c.Example))
		}
		writeOptions(&b, own(c))
	}
	return b.String()
}

func writeOptions(b *strings.Builder, list []option) {
	if len(list) == 0 {
		return
	}
	fmt.Fprintf(b, "\n| option | |\n|---|---|\n")
	for _, o := range list {
		name := o.long
		if o.short != "" {
			name = o.short + ", " + name
		}
		if o.value != "" {
			name += " " + o.value
		}
		fmt.Fprintf(b, "| `%s` | %s |\n", name, strings.ReplaceAll(o.usage, "|", `\|`))
	}
}

// quoteIndented makes the indented lines of a text code, which two spaces do not.
func quoteIndented(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, "  ") {
			lines[i] = "  " + line
		}
	}
	return strings.Join(lines, "\n")
}

func unindent(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = strings.TrimPrefix(lines[i], "  ")
	}
	return strings.Join(lines, "\n")
}

func exitCodes() []string {
	return []string{
		"0 all is well", "1 a failure", "2 a wrong use", "3 an invalid configuration",
		"4 a second signal cut the end short",
	}
}

// Pages are the man pages of all commands, by the names of their files.
func Pages(root *cobra.Command) map[string]string {
	pages := map[string]string{}
	all := commands(root)
	for _, c := range all {
		pages[pageName(c)+".1"] = page(c)
	}
	return pages
}

// Page is the man page of one command.
func Page(c *cobra.Command) string {
	commands(c.Root())
	return page(c)
}

func pageName(c *cobra.Command) string { return strings.ReplaceAll(c.CommandPath(), " ", "-") }

func page(c *cobra.Command) string {
	r := &roff{}
	r.request("TH", strings.ToUpper(pageName(c)), "1", "", "usher", "usher manual")
	r.request("SH", "NAME")
	r.text(pageName(c) + ` \- ` + escape(lowerFirst(c.Short)))
	r.request("SH", "SYNOPSIS")
	r.text(`\fB` + escape(c.CommandPath()) + `\fP` + escape(strings.TrimPrefix(c.UseLine(), c.CommandPath())))
	r.request("SH", "DESCRIPTION")
	description := c.Long
	if description == "" || c.Name() == "completion" {
		description = c.Short + "."
	}
	r.prose(description)
	if subs := subcommands(c); len(subs) > 0 {
		r.request("SH", "COMMANDS")
		for _, s := range subs {
			r.item(`\fB`+escape(s.Name())+`\fP`, s.Short)
		}
	}
	r.options(c)
	if c.Example != "" {
		r.request("SH", "EXAMPLES")
		r.verbatim(unindent(c.Example))
	}
	r.request("SH", "ENVIRONMENT")
	r.prose("Every option can be given as a variable: --log-level as USHER_LOG_LEVEL. The option goes before it.")
	r.request("SH", "EXIT STATUS")
	for _, code := range exitCodes() {
		number, what, _ := strings.Cut(code, " ")
		r.item(number, what)
	}
	r.request("SH", "SEE ALSO")
	r.text(escape(strings.Join(seeAlso(c), ", ")))
	return r.b.String()
}

func subcommands(c *cobra.Command) []*cobra.Command {
	if c.Name() == "completion" {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(c.Commands()), func(s *cobra.Command) bool {
		return s.Hidden || s.Name() == "help"
	})
}

func seeAlso(c *cobra.Command) (names []string) {
	if c.HasParent() {
		names = append(names, pageName(c.Parent())+"(1)")
	}
	for _, s := range subcommands(c) {
		names = append(names, pageName(s)+"(1)")
	}
	return names
}

func lowerFirst(s string) string { return strings.ToLower(s[:1]) + s[1:] }
