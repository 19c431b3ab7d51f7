package main_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"
)

// interopCases are the cases of gRPC's interop client, but for those that need
// credentials of Google's cloud, and for pick_first_unary, which asks for a name that
// grpc-go's server does not have.
func interopCases() []string {
	return []string{
		"empty_unary", "large_unary", "client_streaming", "server_streaming", "ping_pong", "empty_stream",
		"timeout_on_sleeping_server", "cancel_after_begin", "cancel_after_first_response",
		"status_code_and_message", "special_status_message", "custom_metadata", "unimplemented_method",
		"unimplemented_service", "rpc_soak", "channel_soak", "orca_per_rpc", "orca_oob",
	}
}

// interopServer starts gRPC's interop server, over TLS if there are credentials, and
// returns its address.
func interopServer(t *testing.T, c *credentials) string {
	t.Helper()
	cmd := exec.Command(tool(t, "bin/grpc-interop-server"))
	if c != nil {
		cmd.Args = append(cmd.Args, "--cert", c.cert, "--key", c.key)
	}
	if _, err := cmd.StdinPipe(); err != nil { // it ends with this process
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the interop server does not start: %v", err)
	}
	return strings.TrimSpace(line)
}

// interop runs every case of the interop client against an address, each as a test of its
// own; over TLS if there are credentials.
func interop(t *testing.T, address string, c *credentials) {
	t.Helper()
	client := tool(t, "bin/grpc-interop-client")
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"--server_host=" + host, "--server_port=" + port}
	if c != nil {
		args = append(args, "--use_tls", "--use_test_ca", "--ca_file="+c.ca, "--server_host_override=grpc.test")
	}
	for _, name := range interopCases() {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			all := append([]string{"--test_case=" + name}, args...)
			if strings.HasPrefix(name, "orca") {
				const balancer = `{"loadBalancingConfig":[{"test_backend_metrics_load_balancer":{}}]}`
				all = append(all, "--service_config_json="+balancer)
			}
			if out, err := exec.CommandContext(ctx, client, all...).CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// The cases pass without a usher between: what fails below fails because of it.
func TestInteropItself(t *testing.T) {
	t.Parallel()
	t.Run("plaintext", func(t *testing.T) { interop(t, interopServer(t, nil), nil) })
	t.Run("TLS", func(t *testing.T) {
		c := newCredentials(t)
		interop(t, interopServer(t, c), c)
	})
}

// Every case passes through usher, by HTTP/2 with prior knowledge and over TLS, to a
// server that speaks either.
func TestInterop(t *testing.T) {
	t.Parallel()
	c := newCredentials(t)
	for _, way := range []struct {
		name, proto string
		tls         *credentials
	}{
		{"grpc", "grpc", nil},
		{"grpcs", "grpcs", c},
	} {
		t.Run(way.name, func(t *testing.T) {
			e := startGateway(t, c, "services:\n"+serviceAt("interop", "/", way.proto, interopServer(t, way.tls)),
				fmt.Sprintf("services: {interop: {upstream: {tls: {ca_file: %q, server_name: grpc.test}}}}\n", c.ca))
			t.Run("plaintext", func(t *testing.T) { interop(t, e.plain(), nil) })
			t.Run("TLS", func(t *testing.T) { interop(t, e.secure, c) })
			if n := e.metric("usher_requests_total", `code="200"`); n == 0 {
				t.Error("usher counts no request")
			}
		})
	}
}
