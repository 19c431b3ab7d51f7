package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"usher/deploy/bench/internal/programs"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// wrkOutput is what wrk printed about a server that fails now and then.
const wrkOutput = `Running 3s test @ http://127.0.0.1:19777/
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.94ms    2.44ms  30.99ms   89.85%
    Req/Sec    36.95k    11.02k   53.64k    56.67%
  Latency Distribution
     50%  870.00us
     75%    2.26ms
     90%    4.42ms
     99%    1.05s 
  110300 requests in 3.01s, 12.45MB read
  Socket errors: connect 0, read 2252, write 0, timeout 4
  Non-2xx or 3xx responses: 2251
Requests/sec:  36697.15
Transfer/sec:      4.14MB
`

const (
	statOutput = "7348 (a) (b) S 7288 7288 25169 0 -1 4194304 133 0 0 0 250 31 0 0 20 0 1 0 2391214 2990080 411 " +
		"18446744073709551615 94661989519360 94661989537289 140726556775072 0 0 0 0 6 0 1 0 0 17 1 0 0 0 0 0\n"
	statusOutput = "Name:\tnginx\nTracerPid:\t0\nVmPeak:\t   11000 kB\nVmHWM:\t    1816 kB\nVmRSS:\t    1700 kB\n"
	straceOutput = `% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 22.33    0.000398         398         1           execve
 13.24    0.000236           6        34        13 openat
------ ----------- ----------- --------- --------- ----------------
100.00    0.001782          12       145        19 total
`
)

func TestParseWrk(t *testing.T) {
	got, err := parseWrk(wrkOutput)
	want := sample{requests: 110300, rps: 36697.15, p50: 0.87, p99: 1050, errors: 2252 + 4 + 2251}
	if err != nil || got != want {
		t.Fatalf("got %+v, %v, want %+v", got, err, want)
	}
	calm := strings.NewReplacer(
		"  Socket errors: connect 0, read 2252, write 0, timeout 4\n", "",
		"  Non-2xx or 3xx responses: 2251\n", "",
	).Replace(wrkOutput)
	if got, err := parseWrk(calm); err != nil || got.errors != 0 {
		t.Errorf("without complaints: %d errors, %v", got.errors, err)
	}
	for _, bad := range []string{
		"",
		"unable to connect to 127.0.0.1:1 Connection refused\n",
		strings.Replace(calm, "110300 requests", "0 requests", 1),
		strings.Replace(calm, "1.05s", "-nan", 1),
		strings.Replace(calm, "Requests/sec", "Bytes/sec", 1),
	} {
		if got, err := parseWrk(bad); err == nil {
			t.Errorf("no error, but %+v, from\n%s", got, bad)
		}
	}
}

func TestParseProc(t *testing.T) {
	if ticks, err := parseStat(statOutput); err != nil || ticks != 281 {
		t.Errorf("stat: %d ticks, %v; want 281", ticks, err)
	}
	if _, err := parseStat("7348 (a) S 1 2"); err == nil {
		t.Error("half a line of stat is taken")
	}
	for field, want := range map[string]int64{"VmHWM": 1816, "VmRSS": 1700, "TracerPid": 0} {
		if got, err := parseStatus(statusOutput, field); err != nil || got != want {
			t.Errorf("%s: %d, %v; want %d", field, got, err, want)
		}
	}
	if _, err := parseStatus(statusOutput, "Vm"); err == nil {
		t.Error("a field that is not there is found")
	}
}

func TestParseStrace(t *testing.T) {
	got := parseStrace(straceOutput)
	if want := map[string]float64{"execve": 1, "openat": 34}; !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{wrkOutput, statOutput, statusOutput, straceOutput, h2loadOutput, "1 200 3\n"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if s, err := parseWrk(text); err == nil && (s.requests <= 0 || s.errors < 0) {
			t.Errorf("wrk: %+v", s)
		}
		if ticks, err := parseStat(text); err == nil && ticks < 0 {
			t.Errorf("stat: %d", ticks)
		}
		if s, data, err := parseH2load(text); err == nil && (s.requests <= 0 || s.errors < 0 || data < 0) {
			t.Errorf("h2load: %+v, %d", s, data)
		}
		if p50, p99, err := parseH2loadLog(text); err == nil && (p50 < 0 || p99 < p50) {
			t.Errorf("h2load's log: %v, %v", p50, p99)
		}
		_, _ = parseStatus(text, "VmRSS")
		for name, n := range parseStrace(text) {
			if n < 0 {
				t.Errorf("strace: %s %v", name, n)
			}
		}
	})
}

func TestReport(t *testing.T) {
	r := &report{
		Idle:     []idleResult{{Kind: "HTTP/2", Proxy: usher, KiB: 9, Bar: 8}},
		Syscalls: map[string]float64{"read": 2},
	}
	r.Results = summarize(map[key][]sample{
		{"small", nginx}: {{cpu: 10}, {cpu: 20}, {cpu: 10}},
		// Ratios 0.9, 1.1 and 2: the round in which the machine was slow for both counts as any other.
		{"small", usher}: {{cpu: 9, rss: 30}, {cpu: 22, rss: 50}, {cpu: 20, rss: 60, errors: 2}},
		{"new", nginx}:   {{cpu: 10}, {cpu: 10}},
		{"new", usher}:   {{cpu: 11}, {cpu: 12}},
	})
	if got := r.Results[1]; got.Ratio != 1.1 || got.CPU != 20 || got.RSS != 50 || got.Errors != 2 || got.Bar != 1 {
		t.Errorf("small: %+v", got)
	}
	if got := r.Results[3].Ratio; got < 1.149 || got > 1.151 {
		t.Errorf("two rounds: %v, want their mean", got)
	}
	missed := r.missed()
	for _, want := range []string{"small, CPU", "small, peak RSS", "small, number of errors", "an idle connection"} {
		if missed == nil || !strings.Contains(missed.Error(), want) {
			t.Errorf("%q is not among those missed: %v", want, missed)
		}
	}
	if strings.Contains(missed.Error(), "new") {
		t.Errorf("a bar that was reached is missed: %v", missed)
	}
	var text strings.Builder
	if err := r.write(&text, false, true); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| small | usher | 0 | 20.0 | 1.10 | 1.00 |", "| HTTP/2 | usher | 9.00 | 8.00 |", "| all | 2.00 |",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in\n%s", want, text.String())
		}
	}
	text.Reset()
	if err := r.write(&text, true, false); err != nil || !json.Valid([]byte(text.String())) {
		t.Errorf("JSON: %v\n%s", err, text.String())
	}
}

func TestFlags(t *testing.T) {
	for _, args := range [][]string{
		{"--rounds", "-1"},
		{"--loads", "small,large"},
		{"--proxies", "nginx,other"},
		{"--cores", "1"},
		{"--cores", "1,1"},
		{"--duration", "10ms"},
		{"more"},
	} {
		if err := (&bench{progress: io.Discard}).parse(args); err == nil {
			t.Errorf("%v is taken", args)
		}
	}
	b := &bench{progress: io.Discard}
	err := b.parse([]string{"--cores", "2,3", "--loads", ""})
	if err != nil || b.proxyCore != "2" || b.loadCore != "3" {
		t.Errorf("cores %q and %q, %v", b.proxyCore, b.loadCore, err)
	}
}

// TestProcess starts and stops what the measurements need, without the programs.
func TestProcess(t *testing.T) {
	b := &bench{dir: t.TempDir(), proxyCore: "0", progress: io.Discard, backends: []string{"127.0.0.1:1"}}
	run, err := programs.Start(t.Context(), b.proxyCore, filepath.Join(b.dir, "out"),
		"sh", "-c", "echo started; sleep 60 & wait")
	if err != nil {
		t.Fatal(err)
	}
	p := &process{Process: run}
	defer p.Stop()
	both := func() bool { return p.Said() == "started\n" && len(family(p.PID())) == 2 }
	if err := p.Until(t.Context(), both); err != nil {
		t.Fatalf("%v; it said %q, its family is %v", err, p.Said(), family(p.PID()))
	}
	if mib, err := p.memory("VmHWM"); err != nil || mib <= 0 {
		t.Errorf("memory: %v MiB, %v", mib, err)
	}
	if _, err := p.cpuTime(); err != nil {
		t.Errorf("processor time: %v", err)
	}
	child := fmt.Sprintf("/proc/%d/stat", family(p.PID())[1])
	other, err := programs.Start(t.Context(), b.proxyCore, filepath.Join(b.dir, "other"), "sleep", "60")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Stop()
	p.Stop()
	if err := other.Until(t.Context(), func() bool {
		text, err := os.ReadFile(child)
		return err != nil || strings.Contains(string(text), ") Z ") // as long as nobody asks for its end
	}); err != nil {
		t.Errorf("the child is left: %v", err)
	}
	if err := p.Until(t.Context(), func() bool { return false }); err == nil {
		t.Error("a process that has ended is waited for")
	}
	if err := programs.WriteCertificate(b.dir, host); err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.launch(t.Context(), "0", proxy{name: "none", command: "sh -c exit"}, overPlain); err == nil ||
		!strings.Contains(err.Error(), "it has exited") {
		t.Errorf("a program that ends at once: %v", err)
	}
	for _, name := range []string{"nginx.conf", "backends.conf", "haproxy.conf", "usher.yaml", "services.yaml"} {
		text, err := os.ReadFile(filepath.Join(b.dir, name))
		if err != nil || len(text) == 0 || strings.Contains(string(text), "no value") {
			t.Errorf("%s: %v\n%s", name, err, text)
		}
	}
}
