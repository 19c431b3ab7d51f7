package balance

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strconv"
	"time"

	"usher/config"
	"usher/routetable"
)

// Sticky is a Picker that takes the endpoint that the client's cookie names, and another
// policy's choice where there is none, or it was tried, or is not in the view.
//
// The value of the cookie is an HMAC of the endpoint's identity: it tells nothing of the
// endpoint, nobody without the secret can make one, and all processes with the same
// secret understand it. There are only as many values as endpoints, so that a cookie is
// verified by being looked up.
type Sticky struct {
	other routetable.Picker
	name  string
	// before and after are what stands around the value in the field.
	before, after string
	values        []string
	endpoints     map[string]int32
}

// sticking makes the policy's clusters sticky where their settings say so.
func sticking(policy routetable.Balancer, secret []byte) routetable.Balancer {
	return func(c *routetable.Cluster, state *routetable.ClusterState) routetable.Picker {
		p := policy(c, state)
		if c.Policy.Sticky.Cookie == "" {
			return p
		}
		return NewSticky(p, c, secret)
	}
}

// NewSticky returns a picker that goes before another. The secret is used where the
// cluster's settings have none.
func NewSticky(other routetable.Picker, c *routetable.Cluster, secret []byte) *Sticky {
	settings := &c.Policy.Sticky
	if settings.Secret != "" {
		secret = []byte(settings.Secret)
	}
	s := &Sticky{
		other: other, name: settings.Cookie,
		before: "Set-Cookie: " + settings.Cookie + "=", after: attributes(settings),
		values: make([]string, len(c.Endpoints)), endpoints: make(map[string]int32, len(c.Endpoints)),
	}
	mac := hmac.New(sha256.New, secret)
	var sum [sha256.Size]byte
	for i, e := range c.Endpoints {
		mac.Reset()
		mac.Write([]byte("usher sticky endpoint " + e.Identity()))
		s.values[i] = base64.RawURLEncoding.EncodeToString(mac.Sum(sum[:0])[:16])
		s.endpoints[s.values[i]] = int32(i)
	}
	return s
}

// attributes are those of the cookie (RFC 6265 §4.1), with the end of the line. No script
// has use for it, so that none sees it.
func attributes(c *config.Sticky) string {
	s := "; Path=" + c.Path
	if c.TTL > 0 {
		s += "; Max-Age=" + strconv.Itoa(int((c.TTL+time.Second-1)/time.Second))
	}
	s += "; HttpOnly"
	if c.Secure {
		s += "; Secure"
	}
	words := map[string]string{"lax": "; SameSite=Lax", "strict": "; SameSite=Strict", "none": "; SameSite=None"}
	return s + words[c.SameSite] + "\r\n"
}

// Pick implements routetable.Picker.
func (s *Sticky) Pick(v *routetable.View, p *routetable.PickInfo) (int, error) {
	if home := p.Home(); v.Has(home) && !p.Tried(int32(home)) {
		return home, nil
	}
	return s.other.Pick(v, p)
}

// Cookie is the name of the cookie.
func (s *Sticky) Cookie() string { return s.name }

// Find returns the endpoint that a value of the cookie names, -1 for none: a value that
// is forged, foreign, or of an endpoint that has left. It does not allocate.
func (s *Sticky) Find(value []byte) int {
	if i, ok := s.endpoints[string(value)]; ok {
		return int(i)
	}
	return -1
}

// AppendField appends the line of a response's head that names endpoint i.
func (s *Sticky) AppendField(dst []byte, i int) []byte {
	return append(append(append(dst, s.before...), s.values[i]...), s.after...)
}
