package main

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"

	"usher/cmd/usher/internal/api"
	"usher/config"
)

// asked is a question, taken apart.
type asked struct {
	// scheme is http, https, tcp or tls; port is the one that is connected to.
	scheme, host, port string
	// head is that of the request; of tcp and tls there is none.
	head   []byte
	client netip.Addr
}

// defaultPorts are those of the schemes.
func defaultPort(scheme string) string {
	return map[string]string{"http": "80", "https": "443", "tls": "443"}[scheme]
}

// readQuestion takes a question apart. What is asked for goes on as it is written: the
// data plane says what it makes of it.
func readQuestion(q *api.Question) (*asked, error) {
	a := &asked{client: netip.AddrFrom4([4]byte{127, 0, 0, 1})}
	if q.Client != "" {
		var err error
		if a.client, err = netip.ParseAddr(q.Client); err != nil {
			return nil, fmt.Errorf("client %q is no IP address", q.Client)
		}
	}
	scheme, rest, found := strings.Cut(q.URL, "://")
	if !found {
		scheme, rest = "http", q.URL
	}
	a.scheme = strings.ToLower(scheme)
	rest, _, _ = strings.Cut(rest, "#")
	end := strings.IndexAny(rest, "/?")
	if end < 0 {
		end = len(rest)
	}
	authority, target := rest[:end], rest[end:]
	if strings.Contains(authority, "@") {
		return nil, fmt.Errorf("%q: a URL with a user in it is not explained: give an Authorization header", q.URL)
	}
	a.host, a.port = splitAuthority(authority)
	switch a.scheme {
	case "http", "https":
		return a, a.makeHead(q, authority, target)
	case "tls":
		// Where no route claims the name, usher meets the client itself.
		return a, a.makeHead(&api.Question{URL: q.URL}, authority, "/")
	case "tcp":
		if a.port == "" {
			return nil, fmt.Errorf("%q names no port: tcp://:3306", q.URL)
		}
		return a, nil
	default:
		return nil, fmt.Errorf("%q: the scheme is not one of http, https, tcp, tls", q.URL)
	}
}

// splitAuthority parts a host, in lower case and without brackets, from its port.
func splitAuthority(authority string) (host, port string) {
	host, port, err := net.SplitHostPort(authority)
	if err != nil {
		host, port = strings.Trim(authority, "[]"), ""
	}
	return strings.ToLower(host), port
}

// makeHead writes the head as a client would.
func (a *asked) makeHead(q *api.Question, authority, target string) error {
	if authority == "" {
		return fmt.Errorf("%q names no host", q.URL)
	}
	if a.port == defaultPort(a.scheme) {
		authority = strings.TrimSuffix(authority, ":"+a.port)
	}
	if !strings.HasPrefix(target, "/") {
		target = "/" + target
	}
	hosts := []string{authority}
	var lines bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(q.Headers)) {
		if strings.EqualFold(name, "Host") {
			hosts = q.Headers[name]
			continue
		}
		for _, value := range q.Headers[name] {
			fmt.Fprintf(&lines, "%s: %s\r\n", name, value)
			if strings.ContainsAny(name+value, "\r\n") {
				return fmt.Errorf("header %q has a line end in it", name)
			}
		}
	}
	method := cmp.Or(q.Method, "GET")
	if strings.ContainsAny(method+q.URL+strings.Join(hosts, ""), " \r\n\t") {
		return fmt.Errorf("%q: white space in a method, a URL or a host: percent-encode it", method+" "+q.URL)
	}
	var head bytes.Buffer
	fmt.Fprintf(&head, "%s %s HTTP/1.1\r\n", method, target)
	for _, host := range hosts {
		fmt.Fprintf(&head, "Host: %s\r\n", host)
	}
	head.Write(lines.Bytes())
	head.WriteString("\r\n")
	a.head = head.Bytes()
	return nil
}

// listener chooses the listener that the client would come in by, and says why.
func (e *explainer) listener(a *asked, name string) (*config.Listener, string, error) {
	if name != "" {
		for i := range e.cfg.Listeners {
			if l := &e.cfg.Listeners[i]; l.Name == name {
				return l, "it was asked for", nil
			}
		}
		return nil, "", fmt.Errorf("no listener %q%s", name, config.Suggest(name, e.listenerNames()))
	}
	protocols, said := protocolsOf(a.scheme), a.scheme
	fits := e.serving(protocols)
	if len(fits) == 0 && a.scheme == "https" {
		fits = e.serving([]string{"http"})
		said = "https (there is no such listener: taken for http, as behind what ends TLS)"
	}
	if len(fits) == 0 {
		return nil, "", fmt.Errorf("no listener speaks %s: name one with --listener, of %s", a.scheme,
			strings.Join(e.listenerNames(), ", "))
	}
	port := cmp.Or(a.port, defaultPort(a.scheme))
	for _, l := range fits {
		if e.portOf(l) == port {
			return l, fmt.Sprintf("it speaks %s and is on port %s", said, port), nil
		}
	}
	if len(fits) == 1 {
		return fits[0], fmt.Sprintf("it is the only one that speaks %s (on port %s, not %s)",
			said, e.portOf(fits[0]), port), nil
	}
	return fits[0], fmt.Sprintf("it is the first that speaks %s; none is on port %s", said, port), nil
}

// protocolsOf are the protocols of the listeners that take what a scheme stands for.
func protocolsOf(scheme string) []string {
	switch scheme {
	case "tcp":
		return []string{config.ProtocolTCP}
	case "tls":
		return []string{config.ProtocolPassthrough, config.ProtocolHTTPS}
	default:
		return []string{scheme}
	}
}

// serving are the listeners of some protocols; of https those that pass connections on
// where tls is asked for.
func (e *explainer) serving(protocols []string) (out []*config.Listener) {
	tls := slices.Contains(protocols, config.ProtocolPassthrough)
	for i := range e.cfg.Listeners {
		l := &e.cfg.Listeners[i]
		if slices.Contains(protocols, l.Protocol) && (!tls || l.Protocol != config.ProtocolHTTPS || l.Passthrough) {
			out = append(out, l)
		}
	}
	return out
}

func (e *explainer) listenerNames() (names []string) {
	for i := range e.cfg.Listeners {
		names = append(names, e.cfg.Listeners[i].Name)
	}
	return names
}

// portOf is the port that clients connect to.
func (e *explainer) portOf(l *config.Listener) string {
	if l.Port > 0 {
		return fmt.Sprint(l.Port)
	}
	_, port, _ := net.SplitHostPort(cmp.Or(e.addresses[l.Name], l.Address))
	return port
}
