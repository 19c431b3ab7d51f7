package proxy_test

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"usher/config"
	"usher/proxy/proxytest"
	"usher/routetable"
	"usher/watcher"
)

// world is a random configuration and a random catalog.
type world struct {
	*rand.Rand
	rules    *routetable.Rules
	services []*watcher.Service
	// backends are the addresses of what stands behind the instances.
	backends []string
}

func oneOf[T any](r *rand.Rand, list ...T) T { return list[r.IntN(len(list))] }

// some says yes once in n times.
func (w *world) some(n int) bool { return w.IntN(n) == 0 }

// backend starts an origin whose answers say who it is, and what it was asked.
func backend(t *testing.T) *proxytest.Origin {
	t.Helper()
	return proxytest.Raw(t, func(c *proxytest.Conn) {
		address := c.LocalAddr().String()
		for {
			raw := c.Head()
			if raw == "" || !c.Reply("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Backend: %s\r\nX-Got: %s\r\n\r\n",
				address, base64.StdEncoding.EncodeToString([]byte(raw))) {
				return
			}
		}
	})
}

// A world has so many services, and these so many instances, at most.
const (
	worldServices  = 4
	worldInstances = 4
)

// newWorld makes up a world.
func newWorld(t *testing.T, r *rand.Rand) *world {
	t.Helper()
	w := &world{Rand: r}
	for range worldServices * worldInstances {
		w.backends = append(w.backends, backend(t).Addr)
	}
	for i := range 1 + w.IntN(worldServices) {
		w.services = append(w.services, w.service(i))
	}
	w.rules = &routetable.Rules{
		Defaults: proxytest.Policy(config.Policy{}), Services: map[string]config.Service{},
		ErrorPages: map[string]config.Content{}, ExclusiveRoutes: w.some(5),
	}
	for _, s := range w.services {
		w.rules.Services[s.Service] = config.Service{Policy: w.policy()}
	}
	for i := range w.IntN(9) {
		w.rules.Routes = append(w.rules.Routes, w.route(i))
	}
	return w
}

func (w *world) policy() config.Policy {
	p := proxytest.Policy(config.Policy{
		Balance: oneOf(w.Rand, "round_robin", "round_robin", "least_request", "random", "maglev", "ring_hash", "ewma"),
		HashKey: oneOf(w.Rand, "header:X-User", "path", "client_ip", "query:u", "cookie:u", "host"),
	})
	p.RingHash.LoadFactor = 1.25
	if w.some(4) {
		p.Sticky = config.Sticky{Cookie: "home", Path: "/", SameSite: "lax", Secret: "0123456789abcdef0123456789abcdef"}
	}
	return p
}

func (w *world) host() string {
	return oneOf(w.Rand, "a.x", "a.x", "ab.x", "a.a.x")
}

func (w *world) hostPattern() string {
	switch w.IntN(8) {
	case 0, 1:
		return ""
	case 2:
		return "*." + oneOf(w.Rand, "x", "a.x")
	case 3:
		return oneOf(w.Rand, "*", "*b.x", "a.*", "*.a*", "a*:8081")
	case 4:
		return w.host() + ":8081"
	default:
		return w.host()
	}
}

func (w *world) path() string {
	var b strings.Builder
	for range max(0, w.IntN(5)-1) {
		b.WriteString("/" + oneOf(w.Rand, "p", "q", "pp", "p q"))
	}
	if b.Len() == 0 || w.some(3) {
		b.WriteByte('/')
	}
	return strings.ReplaceAll(b.String(), " ", oneOf(w.Rand, "", "-", "%"))
}

// service makes up the service of a number. Its instances have backends that no other has.
func (w *world) service(n int) *watcher.Service {
	name := fmt.Sprintf("s%d", n)
	s := &watcher.Service{Key: watcher.Key{Registry: "test", Service: name}}
	var texts []string
	for range w.IntN(4) {
		texts = append(texts, w.announcement())
	}
	if n == 0 {
		texts = append(texts, "/")
	}
	for i := range w.IntN(worldInstances + 1) {
		in := watcher.Instance{
			ID: fmt.Sprintf("%s-%d", name, i), Address: w.backends[n*worldInstances+i],
			Weight: oneOf(w.Rand, 1.0, 1, 1, 0.3, 2, 0),
			Status: oneOf(w.Rand, watcher.Passing, watcher.Passing, watcher.Passing, watcher.Warning,
				watcher.Critical, watcher.Maintenance),
			Created: uint64(1 + w.IntN(50)),
		}
		if in.Status != watcher.Passing {
			in.Cause = "made up"
		}
		for _, text := range texts {
			if w.some(5) {
				text = w.announcement()
			}
			in.Announcements = append(in.Announcements, watcher.Announcement{
				Origin: oneOf(w.Rand, watcher.FromTag, watcher.FromTag, watcher.FromMeta), Where: "tag", Text: text,
			})
		}
		s.Instances = append(s.Instances, in)
	}
	return s
}

// announcement makes up a rule as services announce them; some are broken.
func (w *world) announcement() string {
	path := w.path()
	text := w.hostPattern() + path
	add := func(n int, options ...string) {
		if w.some(n) {
			text += " " + oneOf(w.Rand, options...)
		}
	}
	add(4, "strip="+path, "strip=/p", "strip=/q")
	add(6, "prepend=/pre", "prepend=/")
	add(6, "host=up.example", "host=dst")
	add(6, "weight=0.5", "weight=0.2", "weight=1")
	add(8, "allow=ip:127.0.0.0/8", "allow=ip:10.0.0.0/8", "deny=ip:127.0.0.1", "deny=ip:192.0.2.0/24", "auth=staff")
	add(8, "redirect=301,https://$host$path", "redirect=302,http://$host/q", "redirect=307,/p")
	add(6, "listener=web", "listener=in", "listener=in,web")
	add(6, "matcher=iprefix", "matcher=glob", "matcher=prefix")
	add(30, "weight=x", "strip=x")
	return text
}

func (w *world) route(i int) config.Route {
	c := config.Route{
		Name: fmt.Sprintf("r%d", i), Priority: oneOf(w.Rand, 0, 0, 0, 1, -1),
		Match: config.Match{
			Path: w.path(), PathType: oneOf(w.Rand, "prefix", "prefix", "prefix", "exact", "glob", "regex", "iprefix"),
		},
		Pos: config.Pos{File: "usher.yaml", Line: 10 + i},
	}
	w.match(&c.Match)
	w.destination(&c)
	if c.Redirect == nil && c.Respond == nil {
		w.filters(&c)
	}
	return c
}

func (w *world) match(m *config.Match) {
	for range w.IntN(3) {
		if h := w.hostPattern(); h != "" && !slices.Contains(m.Hosts, h) {
			m.Hosts = append(m.Hosts, h)
		}
	}
	switch m.PathType {
	case "glob":
		m.Path += "*"
	case "regex":
		m.Path = strings.ReplaceAll(m.Path, "p", oneOf(w.Rand, "p+", "[pq]"))
	}
	if w.some(4) {
		m.Listeners = []string{oneOf(w.Rand, "web", "in", "none")}
	}
	if w.some(4) {
		m.Methods = []string{oneOf(w.Rand, "GET", "POST"), "HEAD"}
	}
	if w.some(5) {
		m.Headers = map[string]string{"X-A": oneOf(w.Rand, "1", "2")}
	}
	if w.some(7) {
		m.HeadersRegex = map[string]string{"X-A": oneOf(w.Rand, "1", "[12]", "^$")}
	}
	if w.some(6) {
		m.Query = map[string]string{oneOf(w.Rand, "u", "v"): oneOf(w.Rand, "", "1")}
	}
}

func (w *world) destination(c *config.Route) {
	name := func() string { return oneOf(w.Rand, w.services...).Service }
	switch w.IntN(8) {
	case 0:
		c.Redirect = &config.Redirect{
			Code: oneOf(w.Rand, 301, 302, 308),
			To:   oneOf(w.Rand, "https://$host$path", "http://$host/q", "/p?$query", "$scheme://$host$path"),
		}
	case 1:
		c.Respond = &config.Respond{Status: oneOf(w.Rand, 200, 204, 404, 503)}
		if c.Respond.Status != 204 {
			c.Respond.Body = oneOf(w.Rand, "", "said")
		}
	case 2:
		c.Service = "nobody"
	case 3, 4:
		for _, s := range w.services {
			c.Split = append(c.Split, config.Arm{Service: s.Service, Weight: oneOf(w.Rand, 1.0, 3, 0.5)})
		}
	default:
		c.Service = name() + oneOf(w.Rand, "", "", "@test")
	}
}

func (w *world) filters(c *config.Route) {
	switch w.IntN(8) {
	case 0:
		c.StripPrefix = oneOf(w.Rand, "/p", "/q")
	case 1:
		c.PrependPrefix = "/pre"
	case 2:
		c.Rewrite = &config.PathRewrite{Path: "^/(p+)/?", To: "/x-$1/"}
	case 3:
		c.Host = "other.example"
	}
	if w.some(5) {
		c.RequestHeaders = config.HeaderEdits{
			Set:    map[string]string{"X-Set": "$client_ip $host $scheme"},
			Remove: []string{oneOf(w.Rand, "X-A", "X-Forwarded-For")},
		}
	}
}

// catalog is the world's.
func (w *world) catalog(version uint64) *watcher.Catalog {
	return watcher.NewCatalog(version, w.services...)
}

// randomHead makes up the head of a request and says what its method is.
func (w *world) randomHead(cookies []string) (method, head string) {
	method = oneOf(w.Rand, "GET", "GET", "GET", "POST", "HEAD", "PUT", "OPTIONS", "DELETE")
	host := w.host() + oneOf(w.Rand, "", "", ":8081", ":80")
	if w.some(8) {
		host = strings.ToUpper(host)
	}
	path := w.path()
	if w.some(4) {
		path = strings.Replace(path, oneOf(w.Rand, "p", "q", "/p"), oneOf(w.Rand, "%70", "%71", "/%70", "%"), 1)
	}
	if w.some(60) {
		path = oneOf(w.Rand, "p", "/\x01", "http://a.x/p", "ftp://a.x/p", "*")
	}
	head = method + " " + path + oneOf(w.Rand, "", "", "?u=1", "?v&u=2", "?u=3") + " HTTP/1.1\r\nHost: " + host + "\r\n"
	add := func(n int, lines ...string) {
		if w.some(n) {
			head += oneOf(w.Rand, lines...) + "\r\n"
		}
	}
	add(2, "X-A: 1", "X-A: 2", "X-A: ", "x-a: 1")
	add(2, "X-User: ann", "X-User: bob", "X-User: cleo")
	add(5, "Cookie: u=1", "Cookie: u=2; other=3")
	if len(cookies) > 0 && w.some(2) {
		head += "Cookie: " + oneOf(w.Rand, cookies...) + "\r\n"
	}
	add(4, "X-Forwarded-For: 192.0.2.7", "X-Forwarded-For: 10.1.2.3, 192.0.2.8", "X-Forwarded-For: nonsense")
	add(6, "X-Forwarded-Proto: https", "X-Forwarded-Proto: http", "X-Forwarded-Prefix: /theirs")
	add(8, "Connection: x-a", "TE: trailers\r\nConnection: te", "Keep-Alive: 5", "Connection: X-User, keep-alive")
	add(10, "X_Under: 1", "CDN-Loop: other", "Expect: 100-continue", "Forwarded: for=1.2.3.4")
	add(80, "Bad Name: 1", "Content-Length: 1x", "Expect: nonsense", "Host: twice")
	if method == "POST" || method == "PUT" {
		head += "Content-Length: 0\r\n"
	}
	return method, head + "\r\n"
}
