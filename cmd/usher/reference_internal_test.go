package main

import (
	"bytes"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"usher/cmd/usher/internal/manual"
)

var update = flag.Bool("update", false, "rewrite docs/reference")

// TestReferenceCommands: the reference of the commands is what they say of themselves.
func TestReferenceCommands(t *testing.T) {
	const path = "../../docs/reference/cli.md"
	want := manual.Markdown((&process{}).rootCommand())
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is not what the commands say any more: make reference", path)
	}
}

// TestCommandsAreDescribed: each command and option says what it is for.
func TestCommandsAreDescribed(t *testing.T) {
	for name, page := range manual.Pages((&process{}).rootCommand()) {
		if strings.Contains(page, "\n\n") || !strings.Contains(page, ".SH \"DESCRIPTION\"\n") {
			t.Errorf("%s:\n%s", name, page)
		}
	}
}

// TestManPages: groff has nothing to complain about, and a reader finds what is there.
func TestManPages(t *testing.T) {
	groff, err := exec.LookPath("groff")
	if err != nil {
		t.Skip("no groff")
	}
	dir := t.TempDir()
	pages := manual.Pages((&process{}).rootCommand())
	if err := writePages(dir, pages); err != nil {
		t.Fatal(err)
	}
	if len(pages) < 15 {
		t.Errorf("only %d pages", len(pages))
	}
	for name := range pages {
		var out, errs bytes.Buffer
		cmd := exec.Command(groff, "-man", "-ww", "-Tutf8", "-P-cbou", filepath.Join(dir, name))
		cmd.Stdout, cmd.Stderr = &out, &errs
		if err := cmd.Run(); err != nil || errs.Len() > 0 {
			t.Errorf("%s: %v\n%s", name, err, errs.String())
		}
		if !strings.Contains(out.String(), "SYNOPSIS") {
			t.Errorf("%s shows\n%s", name, out.String())
		}
	}
}
