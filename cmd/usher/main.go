// Command usher is a reverse proxy and load balancer that learns its routes from a
// service registry. See the README.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// version is set when a release is built.
var version = "dev"

func main() {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR1)
	p := &process{stdout: os.Stdout, stderr: os.Stderr, signals: signals, env: os.LookupEnv}
	os.Exit(p.run(context.Background(), os.Args[1:]))
}
