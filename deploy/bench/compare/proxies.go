package main

import (
	"context"
	"embed"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"usher/deploy/bench/internal/programs"
)

// host is what every request asks for: one of the services in usher's table.
const host = "s500.example.com"

// bareCommand is the first argument of the process that is the bare proxy.
const bareCommand = "bare"

// configs are templates, filled in with settings.
//
//go:embed conf
var configs embed.FS

// The names that are looked for.
const (
	nginx   = "nginx"
	haproxy = "haproxy"
	usher   = "usher"
)

// settings are what a configuration may use, and, each in braces, a command.
type settings struct {
	Dir, Admin           string
	Listen, Secure, TCP  string // a proxy listens on those that are not empty
	Port                 string // of TCP
	Host, GRPC           string // names of the service, and of that of gRPC
	Backends, GRPCs      []string
	Connections, Clients int // to have room for, on both sides and on the clients' alone
}

// proxy is one of those compared. Each keeps its upstream connections and tells the
// backend who the client is.
type proxy struct {
	name, command string
	speaks        []string // ways to reach it
}

// proxies is everything that is compared; nginx is the measure.
var proxies = []proxy{
	{nginx, "nginx -e {dir}/nginx.log -p {dir} -c {dir}/nginx.conf", []string{overPlain, overTLS}},
	{haproxy, "haproxy -db -f {dir}/haproxy.conf", []string{overPlain, overTLS, overTCP}},
	usherProxy(),
	{"fasthttp", "{self} " + bareCommand + " {listen} {backends}", []string{overPlain}},
}

// usherProxy is the one that is judged.
func usherProxy() proxy {
	return proxy{usher, "{usher} run --config {dir}/usher.yaml", []string{overPlain, overTLS, overTCP}}
}

// backendServer is what stands behind all of them, on a port each.
func backendServer() proxy {
	return proxy{"backends", "nginx -e {dir}/backends.log -p {dir} -c {dir}/backends.conf", []string{overPlain}}
}

// grpcBackendServer is what stands there for gRPC.
func grpcBackendServer() proxy {
	return proxy{"grpc", "{self} " + grpcCommand + " {listen},{grpcs}", []string{overH2C}}
}

// launch writes the configurations, starts the program to be reached in these ways and
// waits until it serves; it returns the address of each. Stop the process.
func (b *bench) launch(
	ctx context.Context, core string, p proxy, over ...string,
) (*process, map[string]string, error) {
	free, err := programs.FreeAddresses(4)
	if err != nil {
		return nil, nil, err
	}
	at := map[string]string{}
	for i, way := range over {
		at[way] = free[i+1]
	}
	self, err := os.Executable()
	if err != nil {
		return nil, nil, fmt.Errorf("find this program: %w", err)
	}
	set := settings{
		Dir: b.dir, Admin: free[0], Listen: at[overPlain], Secure: at[overTLS], TCP: at[overTCP],
		Host: host, GRPC: grpcHost, Backends: b.backends, GRPCs: b.grpcBackends,
		Connections: b.room(), Clients: b.idle + b.conns + 256,
	}
	_, set.Port, _ = strings.Cut(set.TCP, ":")
	if err := programs.WriteConfigs(configs, set.Dir, set); err != nil {
		return nil, nil, err
	}
	fill := strings.NewReplacer("{dir}", b.dir, "{listen}", at[over[0]], "{usher}", b.usher,
		"{self}", self, "{backends}", strings.Join(b.backends, ","), "{grpcs}", strings.Join(b.grpcBackends, ","))
	command := strings.Fields(p.command)
	for i := range command {
		command[i] = fill.Replace(command[i])
	}
	run, err := programs.Start(ctx, core, filepath.Join(b.dir, p.name+".out"), command...)
	if err != nil {
		return nil, nil, err
	}
	proc := &process{Process: run, admin: set.Admin}
	for _, way := range over {
		if err := proc.ready(ctx, b.dir, way, at[way]); err != nil {
			proc.Stop()
			return nil, nil, fmt.Errorf("%s does not serve %s: %w\n%s", p.name, way, err, proc.Said())
		}
	}
	return proc, at, nil
}

// serveBare is the baseline: what fasthttp's own server and client make of a proxy that
// can do nothing else. Its arguments are its address and the backends'. It returns on an
// error alone.
func serveBare(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("%s: two arguments are needed", bareCommand)
	}
	addr, backends := args[0], args[1]
	client := &fasthttp.HostClient{ //nolint:forbidigo // this is the one that usher is compared with
		Addr: backends, MaxConns: 1 << 16, MaxIdleConnDuration: 5 * time.Minute, NoDefaultUserAgentHeader: true,
	}
	server := &fasthttp.Server{ //nolint:forbidigo // see above
		Concurrency: 1 << 16, IdleTimeout: 5 * time.Minute, NoDefaultServerHeader: true,
		Handler: func(ctx *fasthttp.RequestCtx) {
			ctx.Request.Header.Del("Connection")
			ctx.Request.Header.Add("X-Forwarded-For", ctx.RemoteIP().String())
			if err := client.Do(&ctx.Request, &ctx.Response); err != nil {
				ctx.Error(err.Error(), fasthttp.StatusBadGateway)
			}
			ctx.Response.Header.Del("Connection")
		},
	}
	return server.ListenAndServe(addr)
}
