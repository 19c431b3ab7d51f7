package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"usher/cmd/usher/internal/term"
	"usher/cmd/usher/internal/textdiff"
	"usher/config"
)

// fmtFlags are those of fmt.
type fmtFlags struct{ check, write, diff bool }

func (p *process) fmtCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "fmt [FILE]...", Short: "Lay out configuration files",
		Long: `Fmt prints configuration files, and those of file registries, in one layout: two spaces
of indentation, the keys in the order of the reference, one blank line between sections.
Comments stay with what they are about, and nothing changes its meaning. Without a FILE,
or for -, it reads stdin.

It exits with 3 for what is not valid YAML, and leaves those files alone. What the keys
and values are worth, usher check says.`,
		Example: `  usher fmt -w /etc/usher/usher.yaml
  usher fmt --check conf.d/*.yaml
  usher fmt -d usher.yaml`,
	}
	f := &fmtFlags{}
	fl := cmd.Flags()
	fl.BoolVar(&f.check, "check", false, "name the files whose layout is another one, and exit with 1 if there is one")
	fl.BoolVarP(&f.write, "write", "w", false, "write the files instead of printing them")
	fl.BoolVarP(&f.diff, "diff", "d", false, "print what would change")
	cmd.MarkFlagsMutuallyExclusive("check", "write")
	cmd.MarkFlagsMutuallyExclusive("diff", "write")
	cmd.RunE = func(cmd *cobra.Command, files []string) error {
		if len(files) == 0 {
			files = []string{"-"}
		}
		return failure(p.format(cmd.InOrStdin(), files, f))
	}
	return cmd
}

func (p *process) format(stdin io.Reader, files []string, f *fmtFlags) error {
	var problems config.Errors
	others := 0
	for _, file := range files {
		changed, err := p.formatFile(stdin, file, f)
		var list config.Errors
		switch {
		case errors.As(err, &list):
			problems = append(problems, list...)
		case err != nil:
			return err
		case changed:
			others++
		}
	}
	switch {
	case len(problems) > 0:
		return problems
	case f.check && others > 0:
		return &exitError{code: exitFailure}
	}
	return nil
}

// formatFile lays out one file; changed says that it was not laid out so.
func (p *process) formatFile(stdin io.Reader, file string, f *fmtFlags) (changed bool, err error) {
	if file == "-" && f.write {
		return false, errors.New("-w needs a FILE: stdin cannot be written to")
	}
	before, err := readOrStdin(file, stdin)
	if err != nil {
		return false, err
	}
	name := file
	if file == "-" {
		name = "stdin"
	}
	after, err := config.Format(name, before)
	if err != nil {
		return false, err
	}
	changed = string(before) != string(after)
	switch {
	case f.diff:
		err = p.printDiff(textdiff.Unified(name, name+" (usher fmt)", string(before), string(after)))
	case f.check && changed:
		_, err = fmt.Fprintln(p.stdout, name)
	case f.write && changed:
		err = replaceFile(file, after)
	case !f.check && !f.write:
		_, err = p.stdout.Write(after)
	}
	return changed, err
}

// printDiff prints a difference in its colours.
func (p *process) printDiff(diff string) error {
	out := p.printer()
	if !out.Colour() {
		return out.Printf("%s", diff)
	}
	for line := range strings.Lines(diff) {
		line = strings.TrimSuffix(line, "\n")
		style := term.Plain
		switch line[0] {
		case '-':
			style = term.Bad
		case '+':
			style = term.Good
		case '@':
			style = term.Accent
		}
		if err := out.Printf("%s\n", out.Paint(style, line)); err != nil {
			return err
		}
	}
	return nil
}

// replaceFile writes a file in one step, so that nobody reads half of it; where path is a
// link, the file that it leads to. Mode and owner stay, as far as this user may set them.
func replaceFile(path string, data []byte) error {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	next, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(next.Name()) }() // gone already if all went well
	if owner, ok := info.Sys().(*syscall.Stat_t); ok {
		_ = next.Chown(int(owner.Uid), int(owner.Gid)) // mostly they are the user's own
	}
	_, err = next.Write(data)
	if err := errors.Join(err, next.Chmod(info.Mode().Perm()), next.Close()); err != nil {
		return err
	}
	return os.Rename(next.Name(), path)
}
