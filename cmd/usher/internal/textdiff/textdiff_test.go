package textdiff

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestUnified(t *testing.T) {
	for name, tt := range map[string]struct{ a, b, want string }{
		"nothing": {"a\n", "a\n", ""},
		"one line": {
			"1\n2\n3\n4\n5\n6\n", "1\n2\n3\nfour\n5\n6\n",
			"--- a\n+++ b\n@@ -1,6 +1,6 @@\n 1\n 2\n 3\n-4\n+four\n 5\n 6\n",
		},
		"from nothing":        {"", "x\n", "--- a\n+++ b\n@@ -0,0 +1,1 @@\n+x\n"},
		"to nothing":          {"x\n", "", "--- a\n+++ b\n@@ -1,1 +0,0 @@\n-x\n"},
		"the last line's end": {"x", "x\n", "--- a\n+++ b\n@@ -1,1 +1,1 @@\n-x\n\\ No newline at end of file\n+x\n"},
		"two places": {
			"a\n1\n2\n3\n4\n5\n6\n7\nb\n", "A\n1\n2\n3\n4\n5\n6\n7\nB\n",
			"--- a\n+++ b\n@@ -1,4 +1,4 @@\n-a\n+A\n 1\n 2\n 3\n@@ -6,4 +6,4 @@\n 5\n 6\n 7\n-b\n+B\n",
		},
	} {
		if got := Unified("a", "b", tt.a, tt.b); got != tt.want {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got, tt.want)
		}
	}
}

// TestPatchTakesIt: patch(1) makes b of a by what Unified says, whatever they are.
func TestPatchTakesIt(t *testing.T) {
	program, err := exec.LookPath("patch")
	if err != nil {
		t.Skip("no patch")
	}
	rng := rand.New(rand.NewPCG(1, 2))
	text := func() string {
		var b strings.Builder
		for range rng.IntN(30) {
			b.WriteString(strings.Repeat("x", rng.IntN(4)) + "\n")
		}
		return b.String()
	}
	dir := t.TempDir()
	for range 60 {
		a, b := text(), text()
		if err := os.WriteFile(filepath.Join(dir, "a"), []byte(a), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(program, "-s", "-o", "out", "a")
		cmd.Dir, cmd.Stdin = dir, strings.NewReader(Unified("a", "b", a, b))
		if a == b {
			continue
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		got, _ := os.ReadFile(filepath.Join(dir, "out")) // patch removes what became empty
		if string(got) != b {
			t.Fatalf("from %q to %q: got %q", a, b, got)
		}
	}
}

// FuzzUnified: the lines that are kept or taken out are those of a, those that are kept or
// put in those of b.
func FuzzUnified(f *testing.F) {
	f.Add("a\nb\nc\n", "a\nc\nd\n")
	f.Add("", "x")
	f.Fuzz(func(t *testing.T, a, b string) {
		var fromA, fromB strings.Builder
		for _, e := range compare(lines(a), lines(b)) {
			if e.kind != '+' {
				fromA.WriteString(e.text)
			}
			if e.kind != '-' {
				fromB.WriteString(e.text)
			}
		}
		if fromA.String() != a || fromB.String() != b {
			t.Errorf("%q and %q became %q and %q", a, b, fromA.String(), fromB.String())
		}
		if (Unified("", "", a, b) == "") != (a == b) {
			t.Errorf("%q and %q: equal or not?", a, b)
		}
	})
}
