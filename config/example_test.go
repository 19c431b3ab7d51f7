package config_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"usher/config"
)

// Load reports everything that is wrong, each with its place.
func ExampleLoad() {
	dir, err := os.MkdirTemp("", "usher")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = os.RemoveAll(dir) }()
	file := filepath.Join(dir, "usher.yaml")
	content := "listeners:\n  - {name: web, adress: \":8080\"}\ndefaults:\n  timeout: 5\n"
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		fmt.Println(err)
		return
	}

	_, err = config.Load(file, config.Options{})
	if list, ok := errors.AsType[config.Errors](err); ok {
		for _, p := range list {
			fmt.Printf("line %d, column %d: %s\n", p.Pos.Line, p.Pos.Column, p.Msg)
		}
	}
	// Output:
	// line 2, column 17: unknown key "adress", did you mean "address"?
	// line 4, column 12: duration "5" has no unit: write 5s, or 5ms
}

// Without a file there are defaults for everything.
func ExampleLoad_defaults() {
	cfg, err := config.Load("", config.Options{Listen: "127.0.0.1:8080"})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(cfg.Listeners[0].Address, cfg.Admin.Address, cfg.Defaults.Balance)
	// Output: 127.0.0.1:8080 127.0.0.1:9900 least_request
}
