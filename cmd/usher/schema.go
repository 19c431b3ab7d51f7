package main

import (
	"github.com/spf13/cobra"

	"usher/config"
)

func (p *process) schemaCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "schema", Short: "Print the JSON Schema of usher.yaml, for editors", Args: cobra.NoArgs,
		Long: `Schema prints the JSON Schema (draft-07) of the configuration file, with --catalog that
of the file of a file registry. Editors that know the YAML language server use it when
the first line of a file names it:

  # yaml-language-server: $schema=./usher.schema.json

It knows keys, kinds and words; what depends on other values only usher check finds.`,
		Example: `  usher schema > usher.schema.json
  usher schema --catalog > services.schema.json`,
	}
	catalog := cmd.Flags().Bool("catalog", false, "that of the file of a file registry")
	cmd.RunE = func(*cobra.Command, []string) error {
		schema := config.Schema()
		if *catalog {
			schema = config.CatalogSchema()
		}
		_, err := p.stdout.Write(schema)
		return failure(err)
	}
	return cmd
}
