package admin

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"usher/cmd/usher/internal/api"
)

// maxWait bounds how long a client may wait for a change.
const maxWait = 5 * time.Minute

// Catalog is where services could be reached at one moment, and the answers made of it. Its
// methods may be called from any goroutine.
type Catalog struct {
	services []api.CatalogService

	mu sync.Mutex
	// made are the answers to what was asked so far of services that there are.
	made map[catalogQuery]*catalogAnswer
}

// catalogQuery is which part of a catalog is asked for.
type catalogQuery struct {
	// service is a name or name@registry; empty: all.
	service string
	usable  bool
}

// catalogAnswer is a body and its ETag.
type catalogAnswer struct {
	body []byte
	etag string
}

// NewCatalog returns the catalog of the services, which must not change any more.
func NewCatalog(services []api.CatalogService) *Catalog {
	return &Catalog{services: services, made: map[catalogQuery]*catalogAnswer{}}
}

// answer returns what is answered to a query. The same answer has the same ETag.
func (c *Catalog) answer(q catalogQuery) (*catalogAnswer, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if a := c.made[q]; a != nil {
		return a, nil
	}
	part := api.Catalog{Services: c.part(q)}
	body, err := json.Marshal(part)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(body)
	a := &catalogAnswer{body: append(body, '\n'), etag: `"` + hex.EncodeToString(sum[:16]) + `"`}
	if q.service == "" || len(part.Services) > 0 { // names that nobody has are without number
		c.made[q] = a
	}
	return a, nil
}

// part returns the services of a query; never nil.
func (c *Catalog) part(q catalogQuery) []api.CatalogService {
	out := []api.CatalogService{}
	for _, s := range c.services {
		if q.service != "" && s.Name != q.service && s.Name+"@"+s.Registry != q.service {
			continue
		}
		if q.usable {
			s.Instances = slices.DeleteFunc(slices.Clone(s.Instances), func(in api.CatalogInstance) bool {
				return !in.Usable
			})
		}
		out = append(out, s)
	}
	return out
}

// serveCatalog answers with the catalog. A client that has the one of an ETag is told 304,
// after it has waited, if it wishes, for another.
func serveCatalog(a API, w http.ResponseWriter, r *http.Request) {
	q, wait, err := catalogQueryOf(r)
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	end := time.NewTimer(wait)
	defer end.Stop()
	for {
		c, changed := a.Catalog()
		found, err := c.answer(q)
		if err != nil {
			fail(w, http.StatusInternalServerError, err.Error())
			return
		}
		if !has(r.Header.Values("If-None-Match"), found.etag) {
			sendCatalog(w, found)
			return
		}
		select {
		case <-changed:
			continue
		case <-end.C:
		case <-closing(r.Context()):
		case <-r.Context().Done():
		}
		w.Header().Set("ETag", found.etag)
		w.Header().Set("Cache-Control", "no-cache")
		w.WriteHeader(http.StatusNotModified)
		return
	}
}

func sendCatalog(w http.ResponseWriter, a *catalogAnswer) {
	w.Header().Set("ETag", a.etag)
	w.Header().Set("Cache-Control", "no-cache") // it may be kept, to be asked about
	w.Header().Set("Content-Type", jsonType)
	_, _ = w.Write(a.body) // the client is gone if this fails
}

func catalogQueryOf(r *http.Request) (q catalogQuery, wait time.Duration, err error) {
	values := r.URL.Query()
	q.service = values.Get("service")
	if text := values.Get("usable"); text != "" {
		if q.usable, err = strconv.ParseBool(text); err != nil {
			return q, 0, fmt.Errorf("usable=%q is neither 1 nor 0", text)
		}
	}
	if text := values.Get("wait"); text != "" {
		if wait, err = time.ParseDuration(text); err != nil || wait < 0 {
			return q, 0, fmt.Errorf("wait=%q is no time like 30s", text)
		}
	}
	return q, min(wait, maxWait), nil
}

// has says whether an ETag is among those of If-None-Match, whatever the coding it was sent
// in.
func has(fields []string, etag string) bool {
	for _, tag := range strings.Split(strings.Join(fields, ","), ",") {
		tag = strings.TrimPrefix(strings.TrimSpace(tag), "W/")
		if tag == "*" || tag == etag || strings.TrimSuffix(tag, gzipped+`"`)+`"` == etag {
			return true
		}
	}
	return false
}

// serveTargets answers with the instances as Prometheus wants them.
func serveTargets(a API, w http.ResponseWriter, r *http.Request) {
	c, _ := a.Catalog()
	answer(w, targets(c.part(catalogQuery{service: r.URL.Query().Get("service")})))
}

// targets makes a group of each instance; those whose address is none are left out.
func targets(services []api.CatalogService) []api.TargetGroup {
	out := []api.TargetGroup{}
	for _, s := range services {
		for i := range s.Instances {
			in := &s.Instances[i]
			if _, _, err := net.SplitHostPort(in.Address); err == nil {
				out = append(out, api.TargetGroup{Targets: []string{in.Address}, Labels: labels(&s, in)})
			}
		}
	}
	return out
}

const labelPrefix = "__meta_usher_"

// labels are what relabelling can go by.
func labels(s *api.CatalogService, in *api.CatalogInstance) map[string]string {
	out := map[string]string{
		"service": s.Name, "registry": s.Registry, "routed": strconv.FormatBool(s.Routed),
		"instance": in.ID, "status": in.Status, "state": in.State, "usable": strconv.FormatBool(in.Usable),
		"held": strconv.FormatBool(in.Held), "datacenter": in.Datacenter, "zone": in.Zone,
	}
	if len(in.Tags) > 0 { // in commas on both sides, so that one can be looked for
		out["tags"] = "," + strings.Join(in.Tags, ",") + ","
	}
	for _, name := range slices.Sorted(maps.Keys(in.Meta)) { // sorted: two may become one
		out["meta_"+labelName(name)] = in.Meta[name]
	}
	for name, value := range maps.Clone(out) {
		delete(out, name)
		out[labelPrefix+name] = strings.ToValidUTF8(value, "\uFFFD")
	}
	return out
}

// labelName makes what a label may be called of a name.
func labelName(name string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, name)
}
