package acmetest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"usher/proxy/upstream/upstreamtest"
)

// patience is how long the programs may take to answer.
const patience = 30 * time.Second

// Options are how a Server begins.
type Options struct {
	// HTTPPort and TLSPort are where names are validated, on 127.0.0.1. 0: nowhere.
	HTTPPort, TLSPort int
	// Validity is how long certificates are good for. 0: 90 days.
	Validity time.Duration
}

// Server is a running pebble.
type Server struct {
	// Directory is the URL of its directory, CAFile holds the authority of its own
	// certificate, and CARoots is what is in there.
	Directory, CAFile, CARoots string

	t                       testing.TB
	binary, dir, management string
	dns                     string
	program                 *program
}

// Start starts a Server that ends with the test.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	if testing.Short() {
		t.Skip("needs an ACME server")
	}
	pebble := binary(t)
	p := freePorts(t)
	s := &Server{
		Directory: "https://" + p[0] + "/dir", management: p[1], dns: p[2],
		t: t, binary: pebble, dir: t.TempDir(),
	}
	s.write(o, p)
	dns := startProgram(t, s.dir, filepath.Join(filepath.Dir(pebble), "pebble-challtestsrv"),
		"-defaultIPv4", "127.0.0.1", "-defaultIPv6", "", "-dnsserver", p[2], "-management", p[3],
		"-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", "")
	s.await(dns, "http://"+p[3], http.DefaultTransport)
	s.start()
	return s
}

func (s *Server) start() {
	s.t.Helper()
	s.program = startProgram(s.t, s.dir, s.binary, "-config", s.path("pebble.json"), "-dnsserver", s.dns)
	s.await(s.program, s.Directory, s.transport())
}

func (s *Server) path(name string) string { return filepath.Join(s.dir, name) }

// write writes the files that pebble reads.
func (s *Server) write(o Options, p [4]string) {
	s.t.Helper()
	if o.Validity == 0 {
		o.Validity = 90 * 24 * time.Hour
	}
	authority := upstreamtest.NewAuthority(s.t)
	s.CAFile, s.CARoots = s.path("ca.pem"), authority.PEM
	_, cert, key := authority.Issue("127.0.0.1")
	config, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": p[0], "managementListenAddress": p[1],
		"certificate": s.path("cert.pem"), "privateKey": s.path("key.pem"),
		"httpPort": o.HTTPPort, "tlsPort": o.TLSPort,
		"retryAfter": map[string]int{"authz": 1, "order": 1}, "keyAlgorithm": "ecdsa",
		"profiles": map[string]any{"default": map[string]any{
			"description": "", "validityPeriod": int(o.Validity.Seconds()),
		}},
	}})
	if err != nil {
		s.t.Fatal(err)
	}
	for name, content := range map[string]string{
		"ca.pem": s.CARoots, "cert.pem": cert, "key.pem": key, "pebble.json": string(config),
	} {
		if err := os.WriteFile(s.path(name), []byte(content), 0o600); err != nil {
			s.t.Fatal(err)
		}
	}
}

func (s *Server) transport() *http.Transport {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(s.CARoots))
	return &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
	}
}

// await waits until a program answers at a URL.
func (s *Server) await(p *program, url string, transport http.RoundTripper) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := get(ctx, url, transport); err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-p.done:
			s.t.Fatalf("%s has ended:\n%s", p.name, p.log())
		case <-ctx.Done():
			s.t.Fatalf("%s does not answer:\n%s", p.name, p.log())
		}
	}
}

func get(ctx context.Context, url string, transport http.RoundTripper) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, err
	}
	req.Close = true
	resp, err := (&http.Client{Transport: transport, Timeout: patience}).Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return io.ReadAll(resp.Body)
}

// Roots are those of the certificates that the Server issues.
func (s *Server) Roots() *x509.CertPool {
	s.t.Helper()
	text, err := get(context.Background(), "https://"+s.management+"/roots/0", s.transport())
	pool := x509.NewCertPool()
	if err != nil || !pool.AppendCertsFromPEM(text) {
		s.t.Fatalf("no root: %v", err)
	}
	return pool
}

// Orders is how many certificates were asked for.
func (s *Server) Orders() int { return strings.Count(s.program.log(), "Added order ") }

// Replacements is how many of these were to take the place of another one.
func (s *Server) Replacements() int { return strings.Count(s.program.log(), "is a replacement of") }

// Accounts is how many accounts there are.
func (s *Server) Accounts() int { return strings.Count(s.program.log(), "accounts in memory") }

// Kill ends the Server: nobody answers at its address any more.
func (s *Server) Kill() { s.program.kill() }

// Restart ends the Server and starts another one in its place, which knows nothing of the
// accounts and certificates of the last.
func (s *Server) Restart() {
	s.t.Helper()
	s.Kill()
	s.start()
}

// Ports are taken from below those that the system gives to outgoing connections and to
// listeners on port 0.
const (
	lowestPort  = 12000
	highestPort = 32000
)

// freePorts finds four addresses that nobody listens at. Another process can take one
// before the programs do.
func freePorts(t testing.TB) (addresses [4]string) {
	t.Helper()
	for i, tries := 0, 0; i < len(addresses); tries++ {
		port := lowestPort + rand.N(highestPort-lowestPort)
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		ln, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", address)
		if err != nil && tries < 1000 {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		addresses[i] = address
		i++
	}
	return addresses
}

// FreePort is a port of 127.0.0.1 that nobody listens on.
func FreePort(t testing.TB) int {
	t.Helper()
	_, port, _ := net.SplitHostPort(freePorts(t)[0])
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// binary finds pebble.
func binary(t testing.TB) string {
	t.Helper()
	if path := os.Getenv("USHER_TEST_PEBBLE"); path != "" {
		return path
	}
	if path, err := exec.LookPath("pebble"); err == nil {
		return path
	}
	dir, err := os.Getwd()
	for err == nil && dir != filepath.Dir(dir) {
		if _, e := os.Stat(filepath.Join(dir, "go.mod")); e == nil {
			if path := filepath.Join(dir, "deploy", "tools", "bin", "pebble"); exists(path) {
				return path
			}
			break
		}
		dir = filepath.Dir(dir)
	}
	t.Fatal("no pebble: run make pebble")
	return ""
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
