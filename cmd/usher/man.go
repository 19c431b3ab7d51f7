package main

import (
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"usher/cmd/usher/internal/manual"
)

func (p *process) manCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "man", Short: "Print the manual page, or write those of all commands", Args: cobra.NoArgs,
		Long: `Man prints the manual page of usher, or with --dir writes one for each command into a
folder, for packages to install.`,
		Example: `  usher man | man -l -
  usher man --dir /usr/local/share/man/man1`,
	}
	dir := cmd.Flags().String("dir", "", "`DIR` to write the pages of all commands to")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *dir != "" {
			return failure(writePages(*dir, manual.Pages(cmd.Root())))
		}
		_, err := p.stdout.Write([]byte(manual.Page(cmd.Root())))
		return failure(err)
	}
	return cmd
}

// writePages writes files, into a folder that is made if it is not there.
func writePages(dir string, pages map[string]string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, text := range pages {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
