package consultest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const loopback = "127.0.0.1"

// ports are those of one agent.
type ports struct{ http, https, server, serfLAN, serfWAN int }

func (p ports) addr(port int) string { return net.JoinHostPort(loopback, strconv.Itoa(port)) }

// Ports are taken from below those that the system gives to outgoing connections
// and to listeners on port 0: so nothing takes an agent's port while it is being
// restarted.
const (
	lowestPort  = 12000
	highestPort = 32000
)

// freePorts finds ports that nobody listens on. Another process can take one
// before the agent does; Start then tries others.
func freePorts(t testing.TB) ports {
	t.Helper()
	var found [5]int
	held := make([]interface{ Close() error }, 0, 2*len(found))
	defer func() {
		for _, c := range held {
			_ = c.Close()
		}
	}()
	lc := net.ListenConfig{}
	for i, tries := 0, 0; i < len(found); tries++ {
		if tries == 1000 {
			t.Fatal("no free ports for consul")
		}
		port := lowestPort + rand.N(highestPort-lowestPort)
		addr := ports{}.addr(port)
		tcp, err := lc.Listen(context.Background(), "tcp", addr)
		if err != nil {
			continue
		}
		held = append(held, tcp)
		udp, err := lc.ListenPacket(context.Background(), "udp", addr) // gossip needs both
		if err != nil {
			continue
		}
		held = append(held, udp)
		found[i] = port
		i++
	}
	return ports{found[0], found[1], found[2], found[3], found[4]}
}

func (a *Agent) dataDir() string { return filepath.Join(a.dir, "data") }
func (a *Agent) logFile() string { return filepath.Join(a.dir, "consul.log") }

// writeConfig writes the configuration and returns the arguments of the agent.
func (a *Agent) writeConfig() (args []string, err error) {
	args = []string{"agent"}
	for i, text := range append([]string{a.baseConfig()}, a.opts.config...) {
		file := filepath.Join(a.dir, fmt.Sprintf("%d.hcl", i))
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			return nil, err
		}
		args = append(args, "-config-file="+file)
	}
	return args, nil
}

func (a *Agent) baseConfig() string {
	var b strings.Builder
	p, https := a.ports, -1
	if a.tls != nil {
		https = p.https
	}
	fmt.Fprintf(&b, "node_name = %q\ndatacenter = %q\ndata_dir = %q\n", a.opts.name, a.opts.datacenter, a.dataDir())
	fmt.Fprintf(&b, "bind_addr = %q\nclient_addr = %q\n", loopback, loopback)
	fmt.Fprintf(&b, "ports { http = %d, https = %d, server = %d, serf_lan = %d, serf_wan = %d,"+
		" dns = -1, grpc = -1, grpc_tls = -1 }\n", p.http, https, p.server, p.serfLAN, p.serfWAN)
	b.WriteString("performance { raft_multiplier = 1 }\nleave_on_terminate = false\n" +
		"skip_leave_on_interrupt = true\ndisable_update_check = true\n" +
		"retry_interval = \"500ms\"\nretry_interval_wan = \"500ms\"\n")
	if a.opts.client {
		b.WriteString("server = false\n")
	} else {
		fmt.Fprintf(&b, "server = true\nbootstrap_expect = %d\n", max(1, len(a.opts.servers)))
	}
	for _, s := range append(a.opts.join, a.opts.servers...) {
		fmt.Fprintf(&b, "retry_join = [%q]\n", s.ports.addr(s.ports.serfLAN))
	}
	for _, s := range a.opts.joinWAN {
		fmt.Fprintf(&b, "retry_join_wan = [%q]\n", s.ports.addr(s.ports.serfWAN))
	}
	if a.opts.token != "" {
		fmt.Fprintf(&b, "acl { enabled = true, default_policy = \"deny\","+
			" tokens { initial_management = %q, agent = %q } }\n", a.opts.token, a.opts.token)
	}
	if a.tls != nil {
		fmt.Fprintf(&b, "tls { defaults { ca_file = %q, cert_file = %q, key_file = %q, verify_incoming = false } }\n",
			a.tls.ca, a.tls.cert, a.tls.key)
	}
	return b.String()
}

type tlsFiles struct{ ca, cert, key string }

// makeTLS makes an authority and the agent's certificate.
func (a *Agent) makeTLS() *tlsFiles {
	a.t.Helper()
	for _, args := range [][]string{
		{"tls", "ca", "create"},
		{"tls", "cert", "create", "-server", "-dc", a.opts.datacenter, "-additional-ipaddress", loopback},
	} {
		cmd := exec.CommandContext(context.Background(), a.binary, args...)
		cmd.Dir = a.dir
		if out, err := cmd.CombinedOutput(); err != nil {
			a.t.Fatalf("consul %v: %v\n%s", args, err, out)
		}
	}
	cert := a.opts.datacenter + "-server-consul-0"
	return &tlsFiles{
		ca:   filepath.Join(a.dir, "consul-agent-ca.pem"),
		cert: filepath.Join(a.dir, cert+".pem"),
		key:  filepath.Join(a.dir, cert+"-key.pem"),
	}
}
