package programs

import (
	"crypto/tls"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// TestStop ends a process that has been stopped, and its child.
func TestStop(t *testing.T) {
	p, err := Start(t.Context(), "", filepath.Join(t.TempDir(), "out"), "sh", "-c", "echo started; sleep 60 & wait")
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	if err := p.Until(t.Context(), func() bool { return p.Said() == "started\n" }); err != nil {
		t.Fatal(err)
	}
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	p.Stop()
	select {
	case <-p.Exited():
	default:
		t.Error("it is still there")
	}
	if err := p.Signal(syscall.SIGKILL); err == nil {
		t.Error("a process that is gone takes a signal")
	}
}

func TestFreeAddresses(t *testing.T) {
	all, err := FreeAddresses(50)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, addr := range all {
		_, text, _ := net.SplitHostPort(addr)
		if port, err := strconv.Atoi(text); err != nil || port < 15000 || port >= 32768 || seen[addr] {
			t.Errorf("%s, %v", addr, err)
		}
		seen[addr] = true
	}
}

func TestCheck(t *testing.T) {
	t.Setenv("PATH", os.Getenv("PATH")) // it is added to
	err := Check(1024, "sh", "no-such-program")
	if err == nil || !strings.Contains(err.Error(), "apt install --no-install-recommends no-such-program") {
		t.Errorf("got %v", err)
	}
}

func TestWriteConfigs(t *testing.T) {
	dir := t.TempDir()
	files := fstest.MapFS{"conf/a.conf": {Data: []byte("listen {{.}}")}}
	if err := WriteConfigs(files, dir, "here"); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(filepath.Join(dir, "a.conf")); err != nil || string(text) != "listen here" {
		t.Errorf("%q, %v", text, err)
	}
	if err := WriteConfigs(fstest.MapFS{"conf/a.conf": {Data: []byte("{{.Nothing}}")}}, dir, "here"); err == nil {
		t.Error("a template that asks for what is not there is taken")
	}
}

func TestTable(t *testing.T) {
	var text strings.Builder
	err := Table(&text, []string{"a|b", "1|2"}, true)
	if err != nil || text.String() != "| a | b |\n|---|---|\n| 1 | 2 |\n" {
		t.Errorf("%v\n%s", err, text.String())
	}
	text.Reset()
	if err := Table(&text, []string{"a|b", "long|2"}, false); err != nil || text.String() != "a     b\nlong  2\n" {
		t.Errorf("%v\n%s", err, text.String())
	}
}

// TestCertificate meets the certificate over TLS.
func TestCertificate(t *testing.T) {
	dir := t.TempDir()
	if err := WriteCertificate(dir, "bench.example.com"); err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "both.pem"), filepath.Join(dir, "key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	pool, err := Pool(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"127.0.0.1", "bench.example.com"} {
		client, server := net.Pipe()
		secure := tls.Client(client, &tls.Config{RootCAs: pool, ServerName: name})
		go func() { _ = tls.Server(server, &tls.Config{Certificates: []tls.Certificate{pair}}).Handshake() }()
		if err := secure.Handshake(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		client.Close()
		server.Close()
	}
}
