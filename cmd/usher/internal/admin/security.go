package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// Access says who may ask.
type Access struct {
	// Token is what must be shown; empty: nothing need be.
	Token string
	// Hosts are the names, with a port or without, by which usher may be asked beside its
	// addresses.
	Hosts []string
}

// guard stands in front of all endpoints. It refuses what a web page could be made to send
// (another name than usher's, which DNS may lead here; what comes from another site), and
// who has no token where there is one.
type guard struct {
	state State
	asked func(path string, code int)
	mux   *http.ServeMux
	cross *http.CrossOriginProtection
	// open says that whoever asks may: there is nothing but liveness, readiness, metrics.
	open bool
}

// maxBody bounds what is sent to an endpoint, in bytes.
const maxBody = 4 << 20

func newGuard(o Options, mux *http.ServeMux) *guard {
	g := &guard{
		state: o.State, asked: o.Asked, mux: mux, cross: http.NewCrossOriginProtection(), open: o.API == nil,
	}
	if g.asked == nil {
		g.asked = func(string, int) {}
	}
	return g
}

// ServeHTTP implements http.Handler.
func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := g.endpoint(r)
	rec := &recorder{ResponseWriter: w}
	defer func() { g.asked(path, rec.status()) }()
	protect(w.Header())
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	if code, why := g.refuses(path, r); code != 0 {
		if code == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", `Bearer realm="usher"`)
		}
		fail(rec, code, why)
		return
	}
	if !strings.HasPrefix(path, apiRoot) {
		g.mux.ServeHTTP(rec, r)
		return
	}
	c := compress(rec, r)
	g.mux.ServeHTTP(c, r)
	c.close()
}

// endpoint is the path of the pattern that takes a request: one of few, whatever is asked.
func (g *guard) endpoint(r *http.Request) string {
	_, pattern := g.mux.Handler(r)
	_, path, found := strings.Cut(pattern, " ")
	switch {
	case found:
		return path
	case pattern == "":
		return rest
	default:
		return pattern
	}
}

// protect sets what keeps browsers from doing more with an answer than showing it. The
// dashboard sets a policy of its own.
func protect(h http.Header) {
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}

// refuses says why a request is not answered; 0: it is.
func (g *guard) refuses(path string, r *http.Request) (code int, why string) {
	if g.open {
		return 0, ""
	}
	access := g.state.Access()
	switch {
	case !access.knows(r):
		return http.StatusMisdirectedRequest, "usher is not known by this host: see admin.allowed_hosts"
	case g.cross.Check(r) != nil, embedded(r):
		return http.StatusForbidden, "the request comes from another site"
	case path != "/livez" && path != "/readyz" && path != rest && !access.admits(r):
		return http.StatusUnauthorized, "the token is missing or wrong"
	default:
		return 0, ""
	}
}

// trusts says whether who asks may know everything.
func (g *guard) trusts(r *http.Request) bool { return g.open || new(g.state.Access()).admits(r) }

// knows says whether a request asks for usher: by an address that is its own, by localhost,
// or by a name that it was given. A socket in a file has no name to forge.
func (a *Access) knows(r *http.Request) bool {
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if _, ok := local.(*net.UnixAddr); ok {
		return true
	}
	host := hostOf(r.Host)
	if host == "localhost" {
		return true
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		ip = ip.Unmap().WithZone("")
		tcp, ok := local.(*net.TCPAddr)
		if ip.IsLoopback() || ok && ip == tcp.AddrPort().Addr().Unmap().WithZone("") {
			return true
		}
	}
	for _, allowed := range a.Hosts {
		if strings.EqualFold(allowed, r.Host) || host != "" && strings.EqualFold(allowed, host) {
			return true
		}
	}
	return false
}

// hostOf takes the port from a Host field, the brackets of an IPv6 address, and the dot at
// the end of a name.
func hostOf(field string) string {
	host, _, err := net.SplitHostPort(field)
	if err != nil {
		host = strings.TrimSuffix(strings.TrimPrefix(field, "["), "]")
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// embedded says whether a page of another site reads usher, which it may not, rather than
// leading somebody there. What is no browser says nothing of sites.
func embedded(r *http.Request) bool {
	site := r.Header.Get("Sec-Fetch-Site")
	return (site == "cross-site" || site == "same-site") && r.Header.Get("Sec-Fetch-Mode") != "navigate"
}

// admits says whether the token is shown, where there is one. The time it takes tells
// nothing of it.
func (a *Access) admits(r *http.Request) bool {
	if a.Token == "" {
		return true
	}
	scheme, given, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	want, got := sha256.Sum256([]byte(a.Token)), sha256.Sum256([]byte(strings.TrimSpace(given)))
	return strings.EqualFold(scheme, "Bearer") && subtle.ConstantTimeCompare(want[:], got[:]) == 1
}

// unknown answers for what there is not: a path, or a method of one.
func (g *guard) unknown(w http.ResponseWriter, r *http.Request) {
	var allowed []string
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost} {
		other := *r
		other.Method = method
		if _, pattern := g.mux.Handler(&other); strings.Contains(pattern, " ") {
			allowed = append(allowed, method)
		}
	}
	if len(allowed) == 0 {
		fail(w, http.StatusNotFound, "there is nothing at this path: see /api/v1/openapi.json")
		return
	}
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	fail(w, http.StatusMethodNotAllowed, "this takes "+strings.Join(allowed, ", "))
}

// recorder remembers the status of an answer.
type recorder struct {
	http.ResponseWriter
	code int
}

// WriteHeader implements http.ResponseWriter.
func (r *recorder) WriteHeader(code int) {
	if r.code == 0 && code >= 200 {
		r.code = code
	}
	r.ResponseWriter.WriteHeader(code)
}

// Write implements http.ResponseWriter.
func (r *recorder) Write(p []byte) (int, error) {
	if r.code == 0 {
		r.code = http.StatusOK
	}
	return r.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// status is what was answered; 500 when nothing was, which is a fault.
func (r *recorder) status() int {
	if r.code == 0 {
		return http.StatusInternalServerError
	}
	return r.code
}
