package config

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

// FuzzLoad: no content makes Load or LoadCatalog panic, and what loads, loads
// again equal.
func FuzzLoad(f *testing.F) {
	for _, pattern := range []string{"testdata/bad/*.yaml", "testdata/good/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	opts := Options{Env: envOf(map[string]string{"A": "1", "EMPTY": ""})}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(dir, "main.yaml")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		again(t, path, opts, Load)
		again(t, path, opts, LoadCatalog)
	})
}

func again[T any](t *testing.T, path string, opts Options, load func(string, Options) (*T, error)) {
	t.Helper()
	first, err := load(path, opts)
	second, err2 := load(path, opts)
	if !reflect.DeepEqual(first, second) || !reflect.DeepEqual(err, err2) {
		t.Errorf("first %+v, %v\nthen %+v, %v", first, err, second, err2)
	}
	if list, ok := errors.AsType[Errors](err); err != nil && (!ok || len(list) == 0 || first != nil) {
		t.Errorf("got %v with the error %#v", first, err)
	}
}
