package main

import (
	"bufio"
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"usher/deploy/bench/internal/programs"
)

// configs are templates, filled in with settings.
//
//go:embed conf
var configs embed.FS

// settings are what a configuration may use.
type settings struct {
	Dir, Listen, Admin string
	Secure             string // address over TLS; empty: none
	Backends           []string
	Off                bool // without checks, ejection and retries
	Shed               bool // usher finds the limit of the service
	Generation         int  // of the configuration, one digit: every reload finds a change
}

// proxy is one of those compared: its command, which its file follows, and what makes it
// end in peace and reload. off is usher without checks, ejection and retries.
type proxy struct {
	name, command, file string
	end, reload         syscall.Signal
	off                 bool
}

// proxies is everything that is compared, in the order of the tables.
var proxies = []proxy{
	{"nginx", "nginx -e {dir}/nginx.log -p {dir} -c", "nginx.conf", syscall.SIGQUIT, syscall.SIGHUP, false},
	{"haproxy", "haproxy -W -db -f", "haproxy.conf", syscall.SIGUSR1, syscall.SIGUSR2, false},
	{"usher", "{usher} run --config", "usher.yaml", syscall.SIGTERM, syscall.SIGHUP, false},
	{"usher-off", "{usher} run --config", "usher.yaml", syscall.SIGTERM, syscall.SIGHUP, true},
}

// stage is one proxy and its backends. The main goroutine alone uses it; the load runs
// beside it.
type stage struct {
	proxy          proxy
	dir            string
	workers        int  // of a backend; 0: no bound
	secure         bool // the load comes over TLS
	set            settings
	front          *programs.Process
	backends       []*programs.Process
	load           *load
	began          time.Time
	marked, healed time.Duration // when the fault began, and from when on it should be over
	note           string
}

// start starts everything and waits until it serves. stop it, after an error too.
func (s *stage) start(ctx context.Context, usher string, backends int) error {
	free, err := programs.FreeAddresses(backends + 3)
	if err != nil {
		return err
	}
	s.set = settings{
		Dir: s.dir, Listen: free[0], Admin: free[1], Backends: free[3:],
		Off: s.proxy.off, Shed: s.workers > 0 && !s.proxy.off,
	}
	if s.secure {
		s.set.Secure = free[2]
		if err := programs.WriteCertificate(s.dir, host); err != nil {
			return err
		}
	}
	s.backends = make([]*programs.Process, backends)
	for i := range s.backends {
		if err := s.startBackend(ctx, i); err != nil {
			return err
		}
	}
	if err := programs.WriteConfigs(configs, s.dir, s.set); err != nil {
		return err
	}
	fill := strings.NewReplacer("{dir}", s.dir, "{usher}", usher)
	command := append(strings.Fields(fill.Replace(s.proxy.command)), filepath.Join(s.dir, s.proxy.file))
	s.front, err = programs.Start(ctx, "", filepath.Join(s.dir, "front.out"), command...)
	if err != nil {
		return err
	}
	if err := s.front.Until(ctx, func() bool { return answers(ctx, s.set.Listen) }); err != nil {
		return fmt.Errorf("%s does not serve: %w\n%s", s.proxy.name, err, s.front.Said())
	}
	return nil
}

// stop ends everything, the backends first: then nobody waits for them.
func (s *stage) stop() {
	for _, p := range append(s.backends, s.front) {
		if p != nil {
			p.Stop()
		}
	}
}

// startBackend starts backend i, for the first time or again, and waits until it serves.
func (s *stage) startBackend(ctx context.Context, i int) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	name := filepath.Join(s.dir, "backend"+strconv.Itoa(i))
	p, err := programs.Start(ctx, "", name+".out", self, backendCommand,
		s.set.Backends[i], name+".executed", strconv.Itoa(s.workers))
	if err != nil {
		return err
	}
	s.backends[i] = p
	if err := p.Until(ctx, func() bool { return answers(ctx, s.set.Backends[i]) }); err != nil {
		return fmt.Errorf("backend %d does not serve: %w\n%s", i, err, p.Said())
	}
	return nil
}

// answers says whether a request for /health is answered 200.
func answers(ctx context.Context, addr string) bool {
	return get(ctx, "http://"+addr+"/health") == nil
}

// get asks on a connection of its own and reads the answer.
func get(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("ask: %w", err)
	}
	req.Host = host
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("ask: %w", err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("answer: %s %w", resp.Status, err)
	}
	return nil
}

// at waits until that long after the load has begun.
func (s *stage) at(ctx context.Context, d time.Duration) error {
	return pause(ctx, time.Until(s.began.Add(d)))
}

// mark says that the fault is there, heal that from now on all should be well.
func (s *stage) mark() { s.marked = time.Since(s.began); s.healed = s.marked }
func (s *stage) heal() { s.healed = time.Since(s.began) }

// become tells backend i what to be.
func (s *stage) become(ctx context.Context, i int, mode string) error {
	return get(ctx, "http://"+s.set.Backends[i]+"/control?mode="+mode)
}

// kill ends backend i without a word and waits until it is gone.
func (s *stage) kill(i int) error {
	err := s.backends[i].Signal(syscall.SIGKILL)
	s.backends[i].Stop()
	return err
}

// reload gives the proxy a configuration with a change in it.
func (s *stage) reload() error {
	s.set.Generation++
	next := filepath.Join(s.dir, "next")
	if err := errors.Join(os.RemoveAll(next), os.Mkdir(next, 0o755)); err != nil {
		return fmt.Errorf("new configuration: %w", err)
	}
	if err := programs.WriteConfigs(configs, next, s.set); err != nil {
		return err
	}
	// Nobody finds half a file.
	if err := os.Rename(filepath.Join(next, s.proxy.file), filepath.Join(s.dir, s.proxy.file)); err != nil {
		return fmt.Errorf("new configuration: %w", err)
	}
	return s.front.Signal(s.proxy.reload)
}

// executions reads what the backends noted: how many requests were executed more than
// once, and how many executions there were for each request that was sent.
func (s *stage) executions(requests int) (twice int, each float64, err error) {
	times, total := map[string]int{}, 0
	for i := range s.backends {
		f, err := os.Open(filepath.Join(s.dir, "backend"+strconv.Itoa(i)+".executed"))
		if err != nil {
			return 0, 0, fmt.Errorf("executions: %w", err)
		}
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			total++
			if times[lines.Text()]++; times[lines.Text()] == 2 {
				twice++
			}
		}
		if err := errors.Join(lines.Err(), f.Close()); err != nil {
			return 0, 0, fmt.Errorf("executions: %w", err)
		}
	}
	return twice, float64(total) / float64(requests), nil
}

// slowHead is what the slow connections send, a byte at a time; they never get to its end.
const slowHead = "GET / HTTP/1.1\r\nHost: " + host + "\r\nX-Slow: and so on\r\n\r\n"

// crawl opens n connections that each send a byte every two seconds for d, and returns how
// many the proxy has left open.
func crawl(ctx context.Context, addr string, n int, d time.Duration) (int, error) {
	conns := make([]*clientConn, 0, n)
	defer func() {
		for _, c := range conns {
			_ = c.Close()
		}
	}()
	for range n {
		dialer := net.Dialer{Timeout: 5 * time.Second}
		c, err := dialer.DialContext(ctx, "tcp", addr)
		if err != nil {
			return 0, fmt.Errorf("slow connection: %w", err)
		}
		conns = append(conns, &clientConn{Conn: c, tcp: c.(*net.TCPConn)})
	}
	rate := n / 2
	pace(ctx, time.Now(), rate, int(d.Seconds())*rate, func(i int) {
		_, _ = io.WriteString(conns[i%n], slowHead[i/n:i/n+1]) // who is closed is counted below
	})
	left := 0
	for _, c := range conns {
		if c.open() {
			left++
		}
	}
	return left, ctx.Err()
}
