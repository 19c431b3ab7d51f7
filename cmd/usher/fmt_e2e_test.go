package main_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"usher/cmd/usher/internal/api"
)

const (
	messy = "log:\n    level: info\nadmin: {address: \"127.0.0.1:1\"} # where\n"
	neat  = "admin: {address: \"127.0.0.1:1\"} # where\n\nlog:\n  level: info\n"
)

func TestFmtCommand(t *testing.T) {
	dir := t.TempDir()
	file, other, broken := filepath.Join(dir, "a.yaml"), filepath.Join(dir, "b.yaml"), filepath.Join(dir, "c.yaml")
	writeFile(t, file, messy)
	writeFile(t, other, neat)
	writeFile(t, broken, "a: [")
	if code, out, stderr := command(t, "fmt", file); code != 0 || out != neat {
		t.Errorf("exit %d, %q, %s", code, out, stderr)
	}
	if code, out, _ := command(t, "fmt", "--check", file, other); code != 1 || out != file+"\n" {
		t.Errorf("exit %d, %q", code, out)
	}
	code, out, _ := command(t, "fmt", "--diff", file, other)
	if code != 0 {
		t.Errorf("exit %d", code)
	}
	mustContain(t, "the difference", out, "--- "+file, "+  level: info\n", "-    level: info\n")
	code, _, stderr := command(t, "fmt", "-w", file, broken)
	if got, _ := os.ReadFile(file); code != 3 || string(got) != neat {
		t.Errorf("exit %d, %q", code, got)
	}
	mustContain(t, "a broken one", stderr, broken+":2: not valid YAML")
	if code, out, _ := command(t, "fmt", "--check", file, other); code != 0 || out != "" {
		t.Errorf("exit %d, %q", code, out)
	}
	if code, _, stderr := command(t, "fmt", "-w"); code != 1 || !strings.Contains(stderr, "-w needs a FILE") {
		t.Errorf("exit %d, %s", code, stderr)
	}
	if code, _, _ := command(t, "fmt", "-w", "--check", file); code != 2 {
		t.Errorf("exit %d", code)
	}
	list, _ := filepath.Glob(filepath.Join(dir, ".*"))
	if len(list) > 0 {
		t.Errorf("left behind: %q", list)
	}
}

func TestFmtFollowsLinksAndKeepsTheMode(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "a.yaml"), filepath.Join(dir, "link.yaml")
	writeFile(t, file, messy)
	if err := os.Chmod(file, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("a.yaml", link); err != nil {
		t.Fatal(err)
	}
	command(t, "fmt", "-w", link)
	got, _ := os.ReadFile(file)
	info, err := os.Lstat(file)
	target, err2 := os.Readlink(link)
	if string(got) != neat || err != nil || info.Mode() != 0o640 || err2 != nil || target != "a.yaml" {
		t.Errorf("got %q, %v, %v, %q, %v", got, info.Mode(), err, target, err2)
	}
}

func TestFmtStdin(t *testing.T) {
	cmd := exec.Command(binary, "fmt")
	cmd.Stdin = strings.NewReader(messy)
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Run(); err != nil || out.String() != neat {
		t.Errorf("got %q, %v", out.String(), err)
	}
}

func TestConfigCommand(t *testing.T) {
	file := filepath.Join(t.TempDir(), "usher.yaml")
	writeFile(t, file, "log: {level: debug}\nregistries: [{type: consul, token: s3cret}]\n")
	code, out, stderr := command(t, "config", "--config", file, "--origins", "--listen", ":81")
	if code != 0 {
		t.Fatalf("exit %d, %s", code, stderr)
	}
	for _, want := range [][]string{
		{"log.level", "debug", file + ":1:14"},
		{"log.format", "auto", "default"},
		{"listeners[0].address", ":81", "flag --listen"},
		{"registries[0].token", "redacted", file + ":2:36"},
	} {
		if !hasLine(out, want...) {
			t.Errorf("no line %q in\n%s", want, out)
		}
	}
	mustLack(t, "all", out, "s3cret")
	_, out, _ = command(t, "config", "--config", file, "--given", "log", "registries")
	if out != "log.level            debug\nregistries[0].type   consul\nregistries[0].token  redacted\n" {
		t.Errorf("got\n%s", out)
	}
	_, out, _ = command(t, "config", "--config", file, "--json", "log")
	var conf api.Config
	if err := json.Unmarshal([]byte(out), &conf); err != nil || len(conf.Settings) != 2 || conf.File != file {
		t.Errorf("got %+v, %v", conf, err)
	}
	writeFile(t, file, "log: {levle: debug}\n")
	if code, _, stderr := command(t, "config", "--config", file); code != 3 || !strings.Contains(stderr, `"level"?`) {
		t.Errorf("exit %d, %s", code, stderr)
	}
	if code, _, stderr := command(t, "config", "--config", file, "--admin", "x"); code != 2 {
		t.Errorf("exit %d, %s", code, stderr)
	}
}

// TestConfigOfARunningUsher asks a double.
func TestConfigOfARunningUsher(t *testing.T) {
	admin := fakeAdmin(t, map[string]http.HandlerFunc{
		"GET /api/v1/config": answerJSON(200, api.Config{
			ConfigState: api.ConfigState{File: "usher.yaml"},
			Settings: []api.Setting{
				{Path: "log.level", Value: "warn", Origin: "usher.yaml:1:2"},
				{Path: "log.format", Value: "auto", Origin: "default"},
			},
		}),
	})
	code, out, stderr := command(t, "config", "--admin", admin, "--origins", "--given")
	if code != 0 || out != "log.level  warn  usher.yaml:1:2\n" {
		t.Errorf("exit %d, %q, %s", code, out, stderr)
	}
}

// hasLine says whether one of the lines of a text is made of these fields.
func hasLine(text string, fields ...string) bool {
	for line := range strings.Lines(text) {
		if strings.Join(strings.Fields(line), " ") == strings.Join(fields, " ") {
			return true
		}
	}
	return false
}
