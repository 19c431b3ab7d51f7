package resolve

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"usher/watcher"
)

// FuzzParse compares parse with a parser of whole messages: what that one understands,
// once it is written down properly, is understood, with the same TTL. As it came it
// may be refused: that parser does not mind lengths that contradict each other.
func FuzzParse(f *testing.F) {
	q := dnsmessage.Question{
		Name: dnsmessage.MustNewName("A.test."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET,
	}
	for _, e := range []entry{
		{}, {addrs: []string{"10.0.0.1", "10.0.0.2"}, ttl: 7}, {addrs: []string{"10.0.0.1"}, ttl: 7, alias: "b.test"},
	} {
		m := dnsmessage.Message{
			Header:    dnsmessage.Header{ID: 1, Response: true},
			Questions: []dnsmessage.Question{q}, Answers: e.records(q),
		}
		raw, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
		f.Add(raw[:len(raw)-1])
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if m, ok := parse(raw); ok && m.ttl < -1 {
			t.Errorf("a TTL of %v", m.ttl)
		}
		var whole dnsmessage.Message
		if whole.Unpack(raw) != nil || len(whole.Questions) == 0 {
			return
		}
		proper, err := whole.Pack()
		if err != nil {
			return
		}
		got, ok := parse(proper)
		least := time.Duration(-1)
		for _, a := range whole.Answers {
			ttl := time.Duration(a.Header.TTL) * time.Second
			switch a.Body.(type) {
			case *dnsmessage.AResource, *dnsmessage.AAAAResource, *dnsmessage.CNAMEResource:
				if least < 0 || ttl < least {
					least = ttl
				}
			}
		}
		if !ok || got.ttl != least || got.id != whole.ID || got.response != whole.Response {
			t.Errorf("got %+v, %v of %+v", got, ok, whole)
		}
	})
}

// FuzzStream: the messages of a stream are the same however it is cut into reads.
func FuzzStream(f *testing.F) {
	f.Add([]byte{0, 1, 'a', 0, 2, 'b', 'c', 0, 0, 0}, uint8(1))
	f.Add([]byte{0xff, 0xff, 'a'}, uint8(3))
	f.Fuzz(func(t *testing.T, stream []byte, size uint8) {
		cut := func(size int) (all [][]byte, rest []byte) {
			for chunk := range slices.Chunk(stream, size) {
				rest = append(rest, chunk...)
				for {
					whole, left, ok := cutMessage(rest)
					if !ok {
						break
					}
					all = append(all, bytes.Clone(whole))
					rest = left
				}
			}
			return all, rest
		}
		want, wantRest := cut(max(len(stream), 1))
		got, rest := cut(max(int(size), 1))
		if !slices.EqualFunc(got, want, bytes.Equal) || !bytes.Equal(rest, wantRest) {
			t.Errorf("got %q, %q, want %q, %q", got, rest, want, wantRest)
		}
		n := len(rest)
		for _, m := range got {
			n += 2 + len(m)
		}
		if n != len(stream) {
			t.Errorf("%d bytes of %d came out", n, len(stream))
		}
	})
}

// FuzzHostName: what is a name is no IP, has a port, and is its own lower case.
func FuzzHostName(f *testing.F) {
	for _, address := range []string{
		"web.test:80", "WEB:80", "10.0.0.1:80", "[::1]:80", ":80", "web:http", "web", "[w]:1",
	} {
		f.Add(address)
	}
	f.Fuzz(func(t *testing.T, address string) {
		host, port, ok := hostName(address)
		if !ok {
			return
		}
		if _, err := netip.ParseAddr(host); err == nil || host == "" || strings.ToLower(host) != host {
			t.Errorf("%q is the name %q", address, host)
		}
		if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
			t.Errorf("%q has the port %q", address, port)
		}
	})
}

// FuzzRun drives a Run through any sequence of updates, syncs, changes of DNS and
// time, and checks that no sync overtakes what came before it, and that what was
// sent in the end is what the registry and DNS say.
func FuzzRun(f *testing.F) {
	f.Add([]byte{})
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 1))
		ops := make([]byte, 80)
		for i := range ops {
			ops[i] = byte(r.Uint32())
		}
		f.Add(ops)
	}
	f.Fuzz(func(t *testing.T, ops []byte) {
		if len(ops) > 400 {
			t.Skip("long enough")
		}
		inBubble(t, func(b *bench) {
			m := newModel(b)
			for _, op := range ops {
				m.do(op)
				m.check()
			}
			m.settle()
		})
	})
}

// model knows what a Run must have sent.
type model struct {
	*bench
	// said is the registry's last update of each service and its number, got what was
	// received, number that of the update it came of.
	said, got     map[string]watcher.Update
	saidNo, gotNo map[string]int
	updates       int
	// before holds, for each sync that has not come yet, the numbers it must not
	// overtake.
	before []map[string]int
}

func newModel(b *bench) *model {
	return &model{
		bench: b,
		said:  map[string]watcher.Update{}, got: map[string]watcher.Update{},
		saidNo: map[string]int{}, gotNo: map[string]int{},
	}
}

// do does what a byte says: its upper half what, its lower half with which.
func (m *model) do(op byte) {
	service := string(rune('a' + op%3))
	host := string(rune('k'+op%4)) + ".test"
	switch op >> 4 {
	case 0, 1, 2: // up to two names and an address
		addresses := []string{host + ":80", "10.9.9.9:80", string(rune('k'+op/3%4)) + ".test:81"}
		m.say(update(service, addresses[:op>>4+1]...))
	case 3:
		m.say(watcher.Update{Service: service})
	case 4:
		m.say(update(service, "10.9.9.9:80"))
	case 5, 6:
		m.before = append(m.before, clone(m.saidNo))
		m.feed <- report(watcher.Report{Synced: true, Alive: op%2 == 0})
	case 7, 8:
		m.write(host, time.Duration(op%16)*time.Second, fmt.Sprintf("10.0.0.%d", op%8))
	case 9:
		m.write(host, time.Second, fmt.Sprintf("10.0.0.%d", op%8), "fd00::1")
	case 10:
		m.set(host, page{answer: answer{err: errNone}})
	case 11:
		m.set(host, slow("10.0.0.9"))
	case 12:
		m.feed <- watcher.Update{Service: service, Unknown: true}
	default:
		m.pass(time.Duration(op%16) * 300 * time.Millisecond)
	}
}

func clone(m map[string]int) map[string]int {
	out := make(map[string]int, len(m))
	for k, v := range m {
		out[k] = v
	}
	return out
}

// say sends an update that bears its number where it is passed on.
func (m *model) say(u watcher.Update) {
	m.updates++
	u.Suspect = strconv.Itoa(m.updates)
	m.said[u.Service], m.saidNo[u.Service] = u, m.updates
	u.Instances = slices.Clone(u.Instances)
	m.feed <- u
}

// check takes in what was received.
func (m *model) check() {
	m.t.Helper()
	for _, u := range m.next() {
		if u.Service != "" && !u.Unknown {
			no, err := strconv.Atoi(u.Suspect)
			if err != nil || no < m.gotNo[u.Service] {
				m.t.Errorf("%s: update %q after %d", u.Service, u.Suspect, m.gotNo[u.Service])
			}
			m.got[u.Service], m.gotNo[u.Service] = u, no
		}
		if u.Report != nil && u.Report.Synced {
			if len(m.before) == 0 {
				m.t.Fatal("a sync that was not sent")
			}
			for service, no := range m.before[0] {
				if m.gotNo[service] < no {
					m.t.Errorf("a sync overtook update %d of %s", no, service)
				}
			}
			m.before = m.before[1:]
		}
	}
}

// settle lets everything be resolved and compares.
func (m *model) settle() {
	m.t.Helper()
	want := map[string][]netip.Addr{}
	for i := range 4 {
		host, ip := string(rune('k'+i))+".test", fmt.Sprintf("10.1.0.%d", i)
		m.write(host, time.Minute, ip)
		want[host] = ips(ip)
	}
	m.pass(5 * time.Minute)
	m.check()
	if len(m.before) > 0 {
		m.t.Errorf("%d syncs were lost", len(m.before))
	}
	for service, said := range m.said {
		said.Instances, _ = expand(said.Instances, func(host string) []netip.Addr { return want[host] })
		if got := line(m.got[service]); got != line(said) {
			m.t.Errorf("got  %q\nwant %q", got, line(said))
		}
	}
}
