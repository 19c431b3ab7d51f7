package file_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"usher/config"
	"usher/watcher"
	"usher/watcher/file"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait; a passing test never waits so long.
const patience = 30 * time.Second

// bench is a Registry that runs, and what it has sent.
type bench struct {
	t        *testing.T
	path     string
	out      chan watcher.Update
	services map[string][]watcher.Instance
	last     *watcher.Report
}

// start runs a Registry of a file with this content; empty: of a file that is not
// there.
func start(t *testing.T, content string) *bench {
	t.Helper()
	b := &bench{
		t: t, path: filepath.Join(t.TempDir(), "services.yaml"),
		out: make(chan watcher.Update), services: map[string][]watcher.Instance{},
	}
	if content != "" {
		b.write(content)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	opts := config.Options{Env: func(name string) (string, bool) { return "from-" + name, true }}
	go func() { done <- file.New(b.path, opts, slog.New(slog.DiscardHandler)).Run(ctx, b.out) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != context.Canceled { //nolint:errorlint // it must be this one
			t.Errorf("Run returned %v", err)
		}
	})
	return b
}

// write replaces the file at once, so that no half of it is read.
func (b *bench) write(content string) {
	b.t.Helper()
	if err := os.WriteFile(b.path+".new", []byte(content), 0o600); err != nil {
		b.t.Fatal(err)
	}
	if err := os.Rename(b.path+".new", b.path); err != nil {
		b.t.Fatal(err)
	}
}

// await takes in what is sent until a report comes with which the condition holds.
func (b *bench) await(what string, condition func() bool) {
	b.t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case u := <-b.out:
			if u.Service != "" {
				b.take(u)
			}
			if u.Report == nil {
				continue
			}
			b.last = u.Report
			if condition() {
				return
			}
		case <-deadline:
			b.t.Fatalf("not within %s: %s; it holds %q, last %+v", patience, what, b.dump(), b.last)
		}
	}
}

func (b *bench) take(u watcher.Update) {
	b.t.Helper()
	if u.Since.IsZero() {
		b.t.Errorf("%s: no time", u.Service)
	}
	if len(u.Instances) == 0 {
		delete(b.services, u.Service)
		return
	}
	b.services[u.Service] = u.Instances
}

// want waits until the file was read well and these are its services: a line for
// each instance.
func (b *bench) want(lines map[string]string) {
	b.t.Helper()
	b.await(fmt.Sprintf("%q", lines), func() bool {
		return b.last.Err == nil && b.last.Synced && maps.Equal(b.dump(), lines)
	})
	if b.last.Contact != b.path {
		b.t.Errorf("contact %q, want the path", b.last.Contact)
	}
}

// wantRefused waits until the file was refused and checks that nothing changed.
func (b *bench) wantRefused(mention string) {
	b.t.Helper()
	before := b.dump()
	b.await("the file refused", func() bool { return b.last.Err != nil })
	if !maps.Equal(b.dump(), before) || b.last.Synced || b.last.Reason != "invalid" {
		b.t.Errorf("it changed %q to %q, %+v", before, b.dump(), b.last)
	}
	if !strings.Contains(b.last.Err.Error(), mention) {
		b.t.Errorf("the error %q does not mention %q", b.last.Err, mention)
	}
}

func (b *bench) dump() map[string]string {
	lines := map[string]string{}
	for name, list := range b.services {
		var parts []string
		for _, in := range list {
			parts = append(parts, fmt.Sprintf("%s %v %v", in.Address, in.Status, in.Weight))
		}
		lines[name] = strings.Join(parts, ", ")
	}
	return lines
}

const (
	web  = "services: [{name: web, instances: [{address: \"127.0.0.1:1\"}]}]"
	both = `
services:
  - {name: web, instances: [{address: "127.0.0.1:1"}, {address: "127.0.0.1:2", weight: 0.5}]}
  - {name: api, instances: [{address: "127.0.0.1:3", status: warning}]}
`
)

func TestHotReload(t *testing.T) {
	b := start(t, web)
	b.want(map[string]string{"web": "127.0.0.1:1 passing 1"})
	if *b.last.Seen != 1 {
		t.Errorf("%d services seen, want 1", *b.last.Seen)
	}
	b.write(both)
	b.want(map[string]string{
		"web": "127.0.0.1:1 passing 1, 127.0.0.1:2 passing 0.5",
		"api": "127.0.0.1:3 warning 1",
	})
	b.write(web)
	b.want(map[string]string{"web": "127.0.0.1:1 passing 1"})
	b.write("# nothing\n")
	b.want(map[string]string{})
}

func TestBadFile(t *testing.T) {
	b := start(t, both)
	good := map[string]string{
		"web": "127.0.0.1:1 passing 1, 127.0.0.1:2 passing 0.5",
		"api": "127.0.0.1:3 warning 1",
	}
	b.want(good)
	b.write("services: [{name: web, instances: [{address: nowhere}]}]")
	b.wantRefused("nowhere")
	b.write("services: [")
	b.wantRefused("")
	b.write(both)
	b.want(good)
	if err := os.Remove(b.path); err != nil {
		t.Fatal(err)
	}
	b.wantRefused("services.yaml")
	// What went while the file was bad goes now.
	b.write(web)
	b.want(map[string]string{"web": "127.0.0.1:1 passing 1"})
}

func TestLateFile(t *testing.T) {
	b := start(t, "")
	b.wantRefused("services.yaml")
	b.write(web)
	b.want(map[string]string{"web": "127.0.0.1:1 passing 1"})
}

func TestInstances(t *testing.T) {
	const catalog = `
services:
  - name: web
    routes: ["shop.example.com/ strip=/x", "/"]
    instances:
      - {address: "127.0.0.1:1"}
      - id: second
        address: "127.0.0.1:2"
        weight: 4
        status: critical
        tags: [blue, urlprefix-/own]
        meta: {usher-weight: "0.5", usher-route: "/m;/n"}
      - {address: "127.0.0.1:3", status: maintenance, weight: 0}
      - {address: "127.0.0.1:4", meta: {usher-enable: "false"}}
      - {address: "${HOST}:5"}
  - name: off
    instances: [{address: "127.0.0.1:6", meta: {usher-enable: "false"}}]
`
	b := start(t, catalog)
	b.want(map[string]string{
		"web": "127.0.0.1:1 passing 1, 127.0.0.1:2 critical 2, 127.0.0.1:3 maintenance 0, from-HOST:5 passing 1",
	})
	if *b.last.Seen != 2 {
		t.Errorf("%d services seen, want 2", *b.last.Seen)
	}
	routes := []watcher.Announcement{
		{Origin: watcher.FromTag, Where: "routes: shop.example.com/ strip=/x", Text: "shop.example.com/ strip=/x"},
		{Origin: watcher.FromTag, Where: "routes: /", Text: "/"},
	}
	list := b.services["web"]
	if !reflect.DeepEqual(list[0], watcher.Instance{
		ID: "web/127.0.0.1:1", Address: "127.0.0.1:1", Weight: 1, Announcements: routes,
	}) {
		t.Errorf("the first: %+v", list[0])
	}
	second := watcher.Instance{
		ID: "web/second", Address: "127.0.0.1:2", Weight: 2,
		Status: watcher.Critical, Cause: "status: critical in the file",
		Tags: []string{"blue", "urlprefix-/own"},
		Meta: map[string]string{"usher-weight": "0.5", "usher-route": "/m;/n"},
		Announcements: []watcher.Announcement{
			routes[0], routes[1],
			{Origin: watcher.FromTag, Where: "urlprefix-/own", Text: "/own"},
			{Origin: watcher.FromMeta, Where: "usher-route", Text: "/m"},
			{Origin: watcher.FromMeta, Where: "usher-route", Text: "/n"},
		},
	}
	if !reflect.DeepEqual(list[1], second) {
		t.Errorf("got  %+v\nwant %+v", list[1], second)
	}
}

// TestDisableTheLast: a service of which every instance is disabled is gone.
func TestDisableTheLast(t *testing.T) {
	b := start(t, web)
	b.want(map[string]string{"web": "127.0.0.1:1 passing 1"})
	b.write(`services: [{name: web, instances: [{address: "127.0.0.1:1", meta: {usher-enable: "false"}}]}]`)
	b.want(map[string]string{})
}

// TestEndWhileNobodyReads: Run ends though nobody takes its updates.
func TestEndWhileNobodyReads(t *testing.T) {
	start(t, both)
}
