package main_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/hashicorp/consul/api"

	"usher/watcher/consul/consultest"
)

// What migrate wrote runs: the routes of a static Fabio are served.
func TestMigratedFabioServes(t *testing.T) {
	dir := t.TempDir()
	one, two := newBackend(t, "one", nil), newBackend(t, "two", nil)
	writeFile(t, dir+"/fabio.properties", fmt.Sprintf(`
proxy.addr = 127.0.0.1:0
ui.addr = 127.0.0.1:0
registry.backend = static
registry.static.routes = route add one shop.test/ http://%s/\nroute add two shop.test/two http://%s/ opts "strip=/two"
`, one.address(), two.address()))
	code, stdout, stderr := command(t, "migrate", "fabio", "--properties", dir+"/fabio.properties", "--output-dir", dir)
	if code != 0 || stdout != "" || !strings.Contains(stderr, "Taken over:") {
		t.Fatalf("exit %d, stdout %q, stderr:\n%s", code, stdout, stderr)
	}
	if code, _, stderr := command(t, "check", "--config", dir+"/usher.yaml"); code != 0 {
		t.Fatalf("check exits with %d: %s", code, stderr)
	}
	conf, err := os.ReadFile(dir + "/usher.yaml")
	if err != nil {
		t.Fatal(err)
	}
	u := launch(t, strings.Replace(string(conf), "services.yaml", dir+"/services.yaml", 1))
	u.waitLog(`"msg":"services"`)
	u.waitStatus("shop.test", 200)
	for path, want := range map[string]string{"/": "one", "/two": "two"} {
		if status, body := get(t, u.web+path, "shop.test"); status != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: %d %q", path, status, body)
		}
	}
}

func TestMigrateOutput(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir+"/kv", "route add web shop.test/ http://10.0.0.1:80/\n")
	writeFile(t, dir+"/properties", "ui.title = x\n")

	code, stdout, _ := command(t, "migrate", "fabio", "--properties", dir+"/properties")
	if code != 0 || strings.Contains(stdout, "---") {
		t.Errorf("one file: exit %d\n%s", code, stdout)
	}
	code, stdout, _ = command(t, "migrate", "fabio", "--kv", dir+"/kv")
	conf, catalog, two := strings.Cut(stdout, "---\n")
	if code != 0 || !two || !strings.Contains(catalog, "shop.test/") {
		t.Fatalf("two files: exit %d\n%s", code, stdout)
	}
	writeFile(t, dir+"/usher.yaml", conf)
	writeFile(t, dir+"/services.yaml", catalog)
	if code, _, stderr := command(t, "check", "--config", dir+"/usher.yaml"); code != 0 {
		t.Errorf("the two parts of stdout: check exits with %d: %s", code, stderr)
	}
	code, _, stderr := command(t, "migrate", "fabio", "--kv", dir+"/kv", "--output", dir+"/usher.yaml")
	if code != 1 || !strings.Contains(stderr, "--force") {
		t.Errorf("a file is replaced: exit %d, %s", code, stderr)
	}
	code, _, stderr = command(t, "migrate", "fabio", "--kv", dir+"/kv", "--output", dir+"/usher.yaml", "--force")
	info, err := os.Stat(dir + "/usher.yaml")
	if code != 0 || err != nil || !strings.Contains(stderr, "wrote "+dir+"/services.yaml") {
		t.Fatalf("with --force: exit %d, %v, %s", code, err, stderr)
	}
	if info.Mode().Perm()&0o077 != 0 {
		t.Errorf("others can read %v, which may hold a token", info.Mode())
	}
}

func TestMigrateReportAsJSON(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir+"/properties", "ui.title = x\n")
	_, _, stderr := command(t, "migrate", "fabio", "--properties", dir+"/properties", "--json")
	var report struct {
		Notes []struct{ Kind, Where, Text string }
	}
	if err := json.Unmarshal([]byte(stderr), &report); err != nil {
		t.Fatalf("%v in %s", err, stderr)
	}
	for _, n := range report.Notes {
		if n.Kind == "dropped" && strings.HasSuffix(n.Where, "properties:1 ui.title") {
			return
		}
	}
	t.Errorf("ui.title is not told: %+v", report)
}

func TestMigrateExitCodes(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir+"/bad.json", "[{")
	for args, want := range map[string]int{
		"":                                       2,
		"fabio":                                  2,
		"fabio --nonsense":                       2,
		"fabio --consul ftp://x":                 2,
		"fabio --kv x --output a --output-dir b": 2,
		"fabio --kv " + dir + "/none":            1,
		"fabio --kv " + dir + "/bad.json":        1,
		"fabio --properties " + dir + "/none":    1,
		"fabio --consul 127.0.0.1:1":             1,
	} {
		code, stdout, stderr := command(t, append([]string{"migrate"}, strings.Fields(args)...)...)
		if code != want || stdout != "" || stderr == "" {
			t.Errorf("%s: exit %d, want %d: %s", args, code, want, stderr)
		}
	}
}

// The dump comes by a pipe, the tags and the keys from a running agent.
func TestMigrateFromConsul(t *testing.T) {
	a := consultest.Start(t)
	a.Register(api.AgentServiceRegistration{
		Name: "web", Address: "10.0.0.1", Port: 80, Tags: []string{"urlprefix-shop.test/ weight=0"},
	})
	pair := &api.KVPair{Key: "fabio/config", Value: []byte("route add static /s http://10.0.0.9:80/")}
	if _, err := a.Client().KV().Put(pair, nil); err != nil {
		t.Fatal(err)
	}
	consultest.Eventually(t, "web is in the catalog", func() bool {
		found, _, err := a.Client().Catalog().Service("web", "", nil)
		return err == nil && len(found) == 1
	})
	code, stdout, stderr := command(t, "migrate", "fabio", "--consul", a.Addr())
	for _, want := range []string{a.Addr(), "checks_required: one", `"/s"`} {
		if !strings.Contains(stdout, want) {
			t.Errorf("no %s in\n%s", want, stdout)
		}
	}
	if code != 0 || !strings.Contains(stderr, "web@consul urlprefix-shop.test/ weight=0") {
		t.Errorf("exit %d\n%s", code, stderr)
	}

	cmd := exec.CommandContext(context.Background(), binary, "migrate", "fabio", "--kv", "-",
		"--output-dir", t.TempDir())
	cmd.Stdin = strings.NewReader(`[{"key":"fabio/config","flags":0,"value":"cm91dGUgbm9uc2Vuc2U="}]`)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "kv fabio/config:1") {
		t.Errorf("%v: %s", err, out)
	}
}
