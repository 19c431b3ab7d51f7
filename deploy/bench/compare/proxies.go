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
	nginx = "nginx"
	usher = "usher"
)

// settings are what a configuration may use, and, each in braces, a command.
type settings struct {
	Dir, Listen, Admin   string
	Backends             []string
	Connections, Clients int // to have room for, on both sides and on the clients' alone
}

// proxy is one of those compared. Each keeps its upstream connections and tells the
// backend who the client is.
type proxy struct{ name, command string }

// proxies is everything that is compared; nginx is the measure.
var proxies = []proxy{
	{nginx, "nginx -e {dir}/nginx.log -p {dir} -c {dir}/nginx.conf"},
	{"haproxy", "haproxy -db -f {dir}/haproxy.conf"},
	usherProxy(),
	{"fasthttp", "{self} " + bareCommand + " {listen} {backends}"},
}

// usherProxy is the one that is judged.
func usherProxy() proxy { return proxy{usher, "{usher} run --config {dir}/usher.yaml"} }

// backendServer is what stands behind all of them, on a port each.
func backendServer() proxy {
	return proxy{"backends", "nginx -e {dir}/backends.log -p {dir} -c {dir}/backends.conf"}
}

// launch writes the configurations, starts the program and waits until it serves at the
// address that is returned; stop the process.
func (b *bench) launch(ctx context.Context, core string, p proxy) (*process, string, error) {
	free, err := programs.FreeAddresses(2)
	if err != nil {
		return nil, "", err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, "", fmt.Errorf("find this program: %w", err)
	}
	set := settings{
		Dir: b.dir, Listen: free[0], Admin: free[1], Backends: b.backends,
		Connections: b.room(), Clients: b.idle + b.conns + 256,
	}
	if err := programs.WriteConfigs(configs, set.Dir, set); err != nil {
		return nil, "", err
	}
	fill := strings.NewReplacer("{dir}", b.dir, "{listen}", set.Listen, "{usher}", b.usher,
		"{self}", self, "{backends}", strings.Join(b.backends, ","))
	command := strings.Fields(p.command)
	for i := range command {
		command[i] = fill.Replace(command[i])
	}
	run, err := programs.Start(ctx, core, filepath.Join(b.dir, p.name+".out"), command...)
	if err != nil {
		return nil, "", err
	}
	proc := &process{Process: run, admin: set.Admin}
	if err := proc.ready(ctx, set.Listen); err != nil {
		proc.Stop()
		return nil, "", fmt.Errorf("%s does not serve: %w\n%s", p.name, err, proc.Said())
	}
	return proc, set.Listen, nil
}

// serveBare is the baseline: what fasthttp's own server and client make of a proxy that
// can do nothing else. It returns on an error alone.
func serveBare(addr, backends string) error {
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
