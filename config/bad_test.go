package config

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the .want files of testdata/bad")

// TestBad loads every file of testdata/bad, each wrong in its own way, and
// compares the messages with the .want file beside it. Files called catalog-*
// are catalogs of a file registry.
func TestBad(t *testing.T) {
	t.Chdir("testdata/bad")
	files, err := filepath.Glob("*.yaml")
	if err != nil || len(files) < 40 {
		t.Fatalf("found %d files: %v", len(files), err)
	}
	opts := Options{Env: envOf(map[string]string{"SET": "x", "EMPTY": "", "INJECT": "{level: debug}"})}
	for _, file := range files {
		t.Run(strings.TrimSuffix(file, ".yaml"), func(t *testing.T) {
			compareWant(t, file, loadBad(t, file, opts).Error()+"\n")
		})
	}
}

func loadBad(t *testing.T, file string, opts Options) Errors {
	t.Helper()
	var err error
	if strings.HasPrefix(file, "catalog-") {
		_, err = LoadCatalog(file, opts)
	} else {
		_, err = Load(file, opts)
	}
	list, ok := errors.AsType[Errors](err)
	if !ok {
		t.Fatalf("got %v, want Errors", err)
	}
	return list
}

func compareWant(t *testing.T, file, got string) {
	t.Helper()
	want := strings.TrimSuffix(file, ".yaml") + ".want"
	if *update {
		if err := os.WriteFile(want, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(want)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(data) {
		t.Errorf("got\n%swant\n%s", got, data)
	}
}
