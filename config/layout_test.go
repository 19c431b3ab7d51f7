package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFormat: each file of testdata/format, laid out, is the .want file beside it, and so
// is that.
func TestFormat(t *testing.T) {
	files, err := filepath.Glob("testdata/format/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("found %d files: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got, err := Format(file, data)
			if err != nil {
				t.Fatal(err)
			}
			compareGenerated(t, strings.TrimSuffix(file, ".yaml")+".want", got)
			again, err := Format(file, got)
			if err != nil || string(again) != string(got) {
				t.Errorf("a second time: %v\n%s", err, again)
			}
		})
	}
}

func TestFormatKeepsWhatIsLaidOut(t *testing.T) {
	data, err := os.ReadFile("../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	for i, part := range strings.Split(string(data), "```yaml\n")[1:] {
		example, _, _ := strings.Cut(part, "```")
		got, err := Format("example", []byte(example))
		if err != nil {
			t.Fatalf("example %d: %v", i, err)
		}
		again, err := Format("example", got)
		if err != nil || string(again) != string(got) {
			t.Errorf("example %d, a second time: %v\n%s", i, err, again)
		}
	}
}

func TestFormatCases(t *testing.T) {
	for name, tt := range map[string]struct{ in, want string }{
		"empty":          {"", ""},
		"comments alone": {"\n  # a  \n\n\n# b", "# a\n\n# b\n"},
		"keys in order": {
			"log: {level: info}\nadmin:\n    address: x\n",
			"admin:\n  address: x\n\nlog: {level: info}\n",
		},
		"unknown ones last": {
			"zzz: 1\nlog:\n  format: a\n  level: b\n",
			"log:\n  level: b\n  format: a\n\nzzz: 1\n",
		},
		"the user's names stay": {"services: {}\ninclude: x\n", "include: x\nservices: {}\n"},
		"names of a map stay": {
			"services:\n   b:\n      timeout: 1s\n   a: {}\n",
			"services:\n  b:\n    timeout: 1s\n  a: {}\n",
		},
		"items": {
			"listeners:\n- protocol: http\n  address: ':1'\n-    name: b\n     address: ':2'\n",
			"listeners:\n  - address: ':1'\n    protocol: http\n  - name: b\n    address: ':2'\n",
		},
		"a comment moves with its key": {
			"log:\n  # how\n  format: a   # json\n\n  # how much\n  level: b\n",
			"log:\n  # how much\n  level: b\n\n  # how\n  format: a   # json\n",
		},
		"a comment of the first key goes above the dash": {
			"listeners:\n  - protocol: http\n    # who\n    name: a\n    address: ':1'\n",
			"listeners:\n  # who\n  - name: a\n    address: ':1'\n    protocol: http\n",
		},
		"comments by their depth": {
			"listeners:\n- name: a\n  address: ':1'\n  # of a\n# of what follows\nlog: {}\n",
			"listeners:\n  - name: a\n    address: ':1'\n    # of a\n\n# of what follows\nlog: {}\n",
		},
		"the head of the file": {
			"# yaml-language-server: $schema=x\n# of log\nlog: {}\nadmin: {}\n",
			"# yaml-language-server: $schema=x\nadmin: {}\n# of log\nlog: {}\n",
		},
		"a licence": {"# (c)\n\nlog: {}\nadmin: {}\n", "# (c)\n\nadmin: {}\nlog: {}\n"},
		"blank lines": {
			"log: {}\n\n\n\nadmin: {}\nlimits: {}\n\n\n",
			"limits: {}\n\nadmin: {}\nlog: {}\n",
		},
		"texts": {
			"routes:\n- name: a\n  respond:\n      body: |\n           one\n" +
				"             two\n\n           # three\n      status: 200\n",
			"routes:\n  - name: a\n    respond:\n      status: 200\n" +
				"      body: |\n        one\n          two\n\n        # three\n",
		},
		"a text with its indentation": {"a: |2\n    x\n   y\nlog: {}\n", "log: {}\n\na: |2\n    x\n   y\n"},
		"a text that keeps its end": {
			"routes: []\nlog:\n  x: |+\n    a\n\n\nadmin: {}\n",
			"admin: {}\n\nlog:\n  x: |+\n    a\n\n\nroutes: []\n",
		},
		"quoted lines": {
			"log:\n    a: \"x\n\n      # y\"\n    # z\nadmin: {}\n",
			"admin: {}\n\nlog:\n  a: \"x\n\n    # y\"\n  # z\n",
		},
		"brackets over lines": {
			"routes:\n- {name: a, # ]\n   match: {path: \"}\",\n     hosts: [it's, 'x']}}\n",
			"routes:\n  - {name: a, # ]\n     match: {path: \"}\",\n       hosts: [it's, 'x']}}\n",
		},
		"values behind spaces": {
			"log:\n  level:    info\n  format: json\n",
			"log:\n  level: info\n  format: json\n",
		},
		"anchors stay in front": {
			"x: &a\n   level: info\nlog: *a\n",
			"x: &a\n  level: info\n\nlog: *a\n",
		},
		"windows":                {"log: {}\r\nadmin: {}\r\n", "admin: {}\nlog: {}\n"},
		"a document's beginning": {"--- # x\nlog: {}\nadmin: {}\n...\n", "--- # x\nadmin: {}\nlog: {}\n...\n"},
		"catalogs": {
			"services:\n- instances:\n  - weight: 1\n    address: 'a:1'\n  name: x\n",
			"services:\n  - name: x\n    instances:\n      - address: 'a:1'\n        weight: 1\n",
		},
		"no value": {
			"log:\nadmin:\n  address:\n  pprof: true\n",
			"admin:\n  address:\n  pprof: true\n\nlog:\n",
		},
		"lists of lists": {
			"x:\n- - a\n  - b\n-\n  - c\n- # d\n  - e\n",
			"x:\n  - - a\n    - b\n  - - c\n  - # d\n    - e\n",
		},
		"in brackets": {"{log: {},   admin: {}}", "{log: {},   admin: {}}"},
	} {
		got, err := Format("f", []byte(tt.in))
		if err != nil || string(got) != tt.want {
			t.Errorf("%s: %v: got\n%s\nwant\n%s", name, err, got, tt.want)
			continue
		}
		if again, err := Format("f", got); err != nil || string(again) != tt.want {
			t.Errorf("%s, a second time: %v: got\n%s", name, err, again)
		}
	}
}

func TestFormatRefuses(t *testing.T) {
	for content, want := range map[string]string{
		"a: [":            "f:2: not valid YAML",
		"a: 1\na: 2":      `f:2:1: key "a" is already set at f:1:1`,
		"a: 1\n---\nb: 2": "f:2:1: a second YAML document",
		"a: \xff":         "f: not valid UTF-8",
		"a: 1\rb: 2":      "f: a line break that is neither",
		"\ta: 1":          "f: not valid YAML",
	} {
		got, err := Format("f", []byte(content))
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: got %q, %v, want %s", content, got, err, want)
		}
	}
}

// FuzzFormat: a layout is that of itself, loses nothing, and means the same.
func FuzzFormat(f *testing.F) {
	for _, pattern := range []string{"testdata/bad/*.yaml", "testdata/good/*.yaml", "testdata/format/*.yaml"} {
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
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		once, err := Format("f", data)
		if err != nil {
			return
		}
		twice, err := Format("f", once)
		if err != nil || string(twice) != string(once) {
			t.Fatalf("from\n%q\nonce\n%q\ntwice\n%q, %v", data, once, twice, err)
		}
		path := filepath.Join(dir, "main.yaml")
		load := func(content []byte) (string, bool) {
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			cfg, err := Load(path, Options{Env: envOf(nil)})
			if err != nil {
				return "", false
			}
			return cfg.Hash, true
		}
		before, ok := load(data)
		if after, still := load(once); before != after || ok != still {
			t.Errorf("%q means something else than %q", once, data)
		}
	})
}
