package main_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// workerEnv makes of this test binary the process of a backend; its value is the
// backend's trade as JSON.
const workerEnv = "USHER_TEST_WORKER"

// trade is what a backend does.
type trade struct {
	// Name is what it answers with, Address where it listens.
	Name, Address string
	// Ledger is the file in which it writes a line as it begins a request, and another
	// when it has answered. What it has written outlives it.
	Ledger string
	// Delay is how long each request takes it.
	Delay time.Duration
	// Slots is how many requests it works on at a time; 0: any number.
	Slots int
	// Fault is what it does instead of answering: "500", "hang", "reset", that to one
	// request of three, or "moody", a reset to all while it is sick.
	Fault string
}

// work is main of a backend: it serves until its standard input ends, which is when the
// test is over or dead.
func work(text string) int {
	w := &shop{}
	if err := json.Unmarshal([]byte(text), &w.trade); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	ledger, err := os.OpenFile(w.Ledger, os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	w.ledger = ledger
	if w.Slots > 0 {
		w.slots = make(chan struct{}, w.Slots)
	}
	ln, err := listenAgain(w.Address)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println(ln.Addr())
	srv := &http.Server{Handler: w.mux(), ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = srv.Serve(ln) }() // ends with the process
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 0
}

// listenAgain listens where a process may have listened that just died.
func listenAgain(address string) (net.Listener, error) {
	for end := time.Now().Add(3 * time.Second); ; {
		ln, err := net.Listen("tcp", address)
		if err == nil || time.Now().After(end) {
			return ln, err
		}
		pause(10 * time.Millisecond)
	}
}

// shop is a backend inside its process.
type shop struct {
	trade
	ledger *os.File
	slots  chan struct{}
	sick   atomic.Bool
	// ran and busy are what /stats tells: requests begun, and time spent on them.
	ran, busy atomic.Int64
}

// stats is what a backend tells of itself.
type stats struct {
	Ran  int64
	Busy time.Duration
}

func (w *shop) mux() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", func(rw http.ResponseWriter, _ *http.Request) {
		if w.sick.Load() {
			rw.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("GET /stats", func(rw http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(rw).Encode(stats{w.ran.Load(), time.Duration(w.busy.Load())})
	})
	mux.HandleFunc("POST /sick", func(http.ResponseWriter, *http.Request) { w.sick.Store(true) })
	mux.HandleFunc("POST /well", func(http.ResponseWriter, *http.Request) { w.sick.Store(false) })
	mux.HandleFunc("/", w.serve)
	return mux
}

// serve does one request.
func (w *shop) serve(rw http.ResponseWriter, r *http.Request) {
	w.ran.Add(1)
	w.note("begin", r)
	switch {
	case w.Fault == "500":
		rw.WriteHeader(http.StatusInternalServerError)
		return
	case w.Fault == "hang":
		<-r.Context().Done()
		return
	case w.Fault == "reset" && rand.IntN(3) == 0, w.Fault == "moody" && w.sick.Load():
		reset(rw)
		return
	}
	if w.slots != nil {
		w.slots <- struct{}{}
		defer func() { <-w.slots }()
	}
	begin := time.Now()
	delay := w.Delay
	if ms, err := strconv.Atoi(r.URL.Query().Get("ms")); err == nil {
		delay = time.Duration(ms) * time.Millisecond
	}
	pause(delay)
	w.busy.Add(int64(time.Since(begin)))
	w.note("end", r)
	fmt.Fprint(rw, w.Name)
}

// note writes a line of the ledger, in one write so that those of several processes do
// not mix.
func (w *shop) note(what string, r *http.Request) {
	_, _ = fmt.Fprintf(w.ledger, "%s %s %s %s\n", what, w.Name, r.Method, r.Header.Get("X-Id"))
}

// reset ends a connection as a process that crashes does.
func reset(rw http.ResponseWriter) {
	c, _, err := rw.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	_ = c.(*net.TCPConn).SetLinger(0)
	_ = c.Close()
}

// worker is a backend as the test sees it.
type worker struct {
	t testing.TB
	trade
	cmd *exec.Cmd
}

// startWorker starts a backend and waits until it listens.
func startWorker(t testing.TB, does trade) *worker {
	t.Helper()
	w := &worker{t: t, trade: does}
	w.start()
	t.Cleanup(w.kill)
	return w
}

// start starts the process, again where it was if it was before.
func (w *worker) start() {
	w.t.Helper()
	text, err := json.Marshal(w.trade)
	if err != nil {
		w.t.Fatal(err)
	}
	w.cmd = exec.Command(os.Args[0])
	w.cmd.Env = append(os.Environ(), workerEnv+"="+string(text))
	w.cmd.Stderr = os.Stderr
	if _, err = w.cmd.StdinPipe(); err != nil { // ends with this process
		w.t.Fatal(err)
	}
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		w.t.Fatalf("%s does not start: %v", w.Name, err)
	}
	w.Address = strings.TrimSpace(line)
}

// kill is kill -9; it returns when the process is gone.
func (w *worker) kill() {
	_ = w.cmd.Process.Kill()
	_ = w.cmd.Wait()
}

func (w *worker) signal(s syscall.Signal) {
	w.t.Helper()
	if err := w.cmd.Process.Signal(s); err != nil {
		w.t.Fatal(err)
	}
}

// stats asks the backend itself.
func (w *worker) stats() (s stats) {
	w.t.Helper()
	code, body := get(w.t, "http://"+w.Address+"/stats", "")
	if err := json.Unmarshal([]byte(body), &s); code != http.StatusOK || err != nil {
		w.t.Fatalf("%s: %d %v", w.Name, code, err)
	}
	return s
}

// tell sends the backend a word: sick or well.
func (w *worker) tell(word string) {
	w.t.Helper()
	resp, err := http.Post("http://"+w.Address+"/"+word, "", nil)
	if err != nil {
		w.t.Fatal(err)
	}
	_ = resp.Body.Close()
}

// fleet is backends that are processes of their own, and a usher in front of them as
// the service s.
type fleet struct {
	t       testing.TB
	u       *usher
	workers []*worker
	ledger  string
}

// newFleet starts n backends, which does says what they do, and a usher with more in
// its configuration.
func newFleet(t testing.TB, n int, more string, does func(nth int, w *trade)) *fleet {
	t.Helper()
	f := &fleet{t: t, ledger: t.TempDir() + "/ledger"}
	for i := range n {
		w := trade{Name: fmt.Sprint("w", i), Address: "127.0.0.1:0", Ledger: f.ledger, Delay: 10 * time.Millisecond}
		if does != nil {
			does(i, &w)
		}
		f.workers = append(f.workers, startWorker(t, w))
	}
	f.u = f.front(more, "passing")
	return f
}

// front starts a usher in front of the fleet, whose registry calls them by this status.
func (f *fleet) front(more, status string) *usher {
	f.t.Helper()
	u := launch(f.t, withFile+more)
	f.list(u, status)
	u.waitLog(`"msg":"services"`)
	return u
}

// list writes the registry of a usher.
func (f *fleet) list(u *usher, status string) {
	f.t.Helper()
	text := "services: [{name: s, routes: [\"s.test/\"], instances: ["
	for _, w := range f.workers {
		text += fmt.Sprintf("{address: %q, status: %s}, ", w.Address, status)
	}
	next := u.dir + "/services.next"
	writeFile(f.t, next, text+"]}]\n")
	if err := os.Rename(next, u.dir+"/services.yaml"); err != nil {
		f.t.Fatal(err)
	}
}

// entry is one line of the ledger.
type entry struct{ what, name, method, id string }

// entries reads the ledger.
func (f *fleet) entries() (list []entry) {
	f.t.Helper()
	text, err := os.ReadFile(f.ledger)
	if err != nil {
		f.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if w := strings.Fields(line); len(w) == 4 {
			list = append(list, entry{w[0], w[1], w[2], w[3]})
		}
	}
	return list
}

// begun counts how often each request was begun, by its ID.
func (f *fleet) begun() map[string]int {
	by := map[string]int{}
	for _, e := range f.entries() {
		if e.what == "begin" {
			by[e.id]++
		}
	}
	return by
}

// unfinished are the requests that a backend began and did not answer.
func (f *fleet) unfinished(name string) map[string]bool {
	open := map[string]bool{}
	for _, e := range f.entries() {
		if e.name == name && e.what == "begin" {
			open[e.id] = true
		} else if e.name == name {
			delete(open, e.id)
		}
	}
	return open
}
