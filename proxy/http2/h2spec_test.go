package http2_test

import (
	"encoding/xml"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// h2spec builds the conformance tester from its own module, as make does.
func h2spec(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "h2spec")
	cmd := exec.Command("go", "build", "-o", bin, "github.com/summerwind/h2spec/cmd/h2spec")
	cmd.Dir = "../../deploy/tools/h2spec"
	cmd.Env = append(os.Environ(), "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return bin
}

// TestH2spec: every case of h2spec passes, over TCP and over TLS.
func TestH2spec(t *testing.T) {
	if testing.Short() {
		t.Skip("needs h2spec to be built")
	}
	bin := h2spec(t)
	t.Run("h2c", func(t *testing.T) { runH2spec(t, bin, newScene(t, hello, nil).addr()) })
	t.Run("TLS", func(t *testing.T) {
		runH2spec(t, bin, newSecureScene(t, hello, nil).addr(), "--tls", "--insecure")
	})
}

// suites is the report of h2spec.
type suites struct {
	Suites []struct {
		Name  string `xml:"name,attr"`
		Cases []struct {
			Package string    `xml:"package,attr"`
			Name    string    `xml:"classname,attr"`
			Failure *string   `xml:"failure"`
			Error   *string   `xml:"error"`
			Skipped *struct{} `xml:"skipped"`
		} `xml:"testcase"`
	} `xml:"testsuite"`
}

func runH2spec(t *testing.T, bin, addr string, flags ...string) {
	t.Helper()
	host, port, _ := net.SplitHostPort(addr)
	report := filepath.Join(t.TempDir(), "report.xml")
	args := append([]string{
		"--host", host, "--port", port, "--timeout", "2", "--strict", "--junit-report", report,
	}, flags...)
	begin := time.Now()
	out, runErr := exec.Command(bin, args...).CombinedOutput()
	data, err := os.ReadFile(report)
	if err != nil {
		t.Fatalf("%v, %v\n%s", runErr, err, out)
	}
	var s suites
	if err := xml.Unmarshal(data, &s); err != nil {
		t.Fatal(err)
	}
	passed := 0
	for _, suite := range s.Suites {
		for _, c := range suite.Cases {
			switch {
			case c.Failure != nil, c.Error != nil, c.Skipped != nil:
				t.Errorf("%s: %s: %s", c.Package, c.Name, what(c.Failure, c.Error))
			default:
				passed++
			}
		}
	}
	if passed < 146 || runErr != nil {
		t.Errorf("%d cases passed, %v", passed, runErr)
	}
	t.Logf("%d cases passed in %s", passed, time.Since(begin).Round(time.Millisecond))
}

func what(texts ...*string) string {
	for _, s := range texts {
		if s != nil {
			return fmt.Sprintf("%q", *s)
		}
	}
	return "skipped"
}
