package proxy_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	rpc "google.golang.org/grpc/status"

	"usher/config"
	"usher/proxy/proxytest"
)

// server is a server of gRPC whose methods are those that are set.
type server struct {
	pb.UnimplementedTestServiceServer
	unary func(context.Context) error
	bidi  func(pb.TestService_FullDuplexCallServer) error
}

func (s *server) UnaryCall(ctx context.Context, _ *pb.SimpleRequest) (*pb.SimpleResponse, error) {
	if err := s.unary(ctx); err != nil {
		return nil, err
	}
	return &pb.SimpleResponse{Username: "it works"}, nil
}

func (s *server) FullDuplexCall(stream pb.TestService_FullDuplexCallServer) error {
	return s.bidi(stream)
}

// serveCalls starts a server. It ends with the test.
func serveCalls(t *testing.T, s *server) (address string, g *grpc.Server) {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g = grpc.NewServer()
	pb.RegisterTestServiceServer(g, s)
	var serving sync.WaitGroup
	serving.Go(func() { _ = g.Serve(ln) })
	t.Cleanup(func() {
		g.Stop()
		serving.Wait()
	})
	return ln.Addr().String(), g
}

// callers starts an usher before servers, and a client of it.
func callers(t *testing.T, p config.Policy, addresses ...string) (*proxytest.Usher, pb.TestServiceClient) {
	t.Helper()
	u := proxytest.Start(t, proxytest.Options{
		Listeners: []config.Listener{{H2C: true}},
		Policy:    withBalance(p, "first"), Balancers: firstListed(),
		Services: []proxytest.Service{{Name: "origin", Routes: []string{"/ proto=grpc"}, Addresses: addresses}},
	})
	cc, err := grpc.NewClient(u.Addr(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDisableServiceConfig(), grpc.WithNoProxy(), grpc.WithDisableRetry())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cc.Close() })
	return u, pb.NewTestServiceClient(cc)
}

// endsWith fails the test unless a call ended with a status, and a message that begins so.
func endsWith(t *testing.T, err error, code codes.Code, message string) {
	t.Helper()
	if s := rpc.Convert(err); s.Code() != code || !strings.HasPrefix(s.Message(), message) {
		t.Errorf("got %v, want %v %q", err, code, message)
	}
}

func patient(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), proxytest.Patience)
	t.Cleanup(cancel)
	return ctx
}

// A call by grpc-go gets what the server says.
func TestCallUnary(t *testing.T) {
	t.Parallel()
	left := make(chan time.Duration, 1)
	address, _ := serveCalls(t, &server{unary: func(ctx context.Context) error {
		md, _ := metadata.FromIncomingContext(ctx)
		if d, ok := ctx.Deadline(); ok {
			left <- time.Until(d)
		}
		if md.Get("fail") == nil {
			return nil
		}
		_ = grpc.SetTrailer(ctx, metadata.Pairs("why-bin", "\x00\xff", "why", "so"))
		return rpc.Error(codes.FailedPrecondition, "100% ☺\n")
	}})
	u, c := callers(t, config.Policy{}, address)
	ctx := patient(t)
	resp, err := c.UnaryCall(ctx, &pb.SimpleRequest{})
	if err != nil || resp.GetUsername() != "it works" {
		t.Fatalf("got %v, %v", resp, err)
	}
	if d := <-left; d <= 0 || d > proxytest.Patience {
		t.Errorf("the server has %v", d)
	}
	var trailer metadata.MD
	failing := metadata.AppendToOutgoingContext(ctx, "fail", "1")
	_, err = c.UnaryCall(failing, &pb.SimpleRequest{}, grpc.Trailer(&trailer))
	endsWith(t, err, codes.FailedPrecondition, "100% ☺\n")
	if v := trailer.Get("why-bin"); len(v) != 1 || v[0] != "\x00\xff" || trailer.Get("why") == nil {
		t.Errorf("trailers %q", trailer)
	}
	_, err = c.EmptyCall(ctx, &pb.Empty{})
	endsWith(t, err, codes.Unimplemented, "method EmptyCall not implemented")
	u.Quiet()
	for word, want := range map[string]float64{"ok": 1, "failed_precondition": 1, "unimplemented": 1} {
		if n := u.Counter("usher_grpc_requests_total", map[string]string{"grpc_status": word}); n != want {
			t.Errorf("%s: %v", word, n)
		}
	}
}

// What usher says a client of gRPC understands.
func TestCallFailures(t *testing.T) {
	t.Parallel()
	u, c := callers(t, config.Policy{Timeout: 50 * time.Millisecond}, proxytest.Nowhere(t))
	ctx := patient(t)
	_, err := c.UnaryCall(ctx, &pb.SimpleRequest{})
	endsWith(t, err, codes.Unavailable, "connect_failed")
	stream, err := c.FullDuplexCall(ctx)
	if err != nil {
		t.Fatal(err)
	}
	_, err = stream.Recv()
	endsWith(t, err, codes.Unavailable, "connect_failed")
	u.Publish()
	_, err = c.UnaryCall(ctx, &pb.SimpleRequest{})
	endsWith(t, err, codes.Unimplemented, "no_route")
	u.Quiet()
}

// The bound on a call without a deadline is timeout; on one with a deadline it is that.
func TestCallTimeout(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 2)
	address, _ := serveCalls(t, &server{unary: func(ctx context.Context) error {
		pause := 10 * time.Second
		if md, _ := metadata.FromIncomingContext(ctx); md.Get("soon") != nil {
			pause = 300 * time.Millisecond
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
		ended <- ctx.Err()
		return nil
	}})
	u, c := callers(t, config.Policy{Timeout: 100 * time.Millisecond}, address)
	_, err := c.UnaryCall(t.Context(), &pb.SimpleRequest{})
	endsWith(t, err, codes.DeadlineExceeded, "upstream_timeout")
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the server's call ended with %v", err)
	}
	_, err = c.UnaryCall(metadata.AppendToOutgoingContext(patient(t), "soon", "1"), &pb.SimpleRequest{})
	endsWith(t, err, codes.OK, "")
	u.Quiet()
}

// echo sends back what it gets.
func echo(stream pb.TestService_FullDuplexCallServer) error {
	for {
		in, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := stream.Send(&pb.StreamingOutputCallResponse{Payload: in.GetPayload()}); err != nil {
			return err
		}
	}
}

// Messages go both ways, one at a time; a client that leaves is known to the server.
func TestCallStreams(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	address, _ := serveCalls(t, &server{bidi: func(s pb.TestService_FullDuplexCallServer) error {
		err := echo(s)
		ended <- err
		return err
	}})
	u, c := callers(t, config.Policy{}, address)
	stream, err := c.FullDuplexCall(patient(t))
	if err != nil {
		t.Fatal(err)
	}
	say := func(s pb.TestService_FullDuplexCallClient, text string) {
		t.Helper()
		err := s.Send(&pb.StreamingOutputCallRequest{Payload: &pb.Payload{Body: []byte(text)}})
		got, recvErr := s.Recv()
		if err != nil || recvErr != nil || string(got.GetPayload().GetBody()) != text {
			t.Fatalf("got %.20q, %v, %v", got.GetPayload().GetBody(), err, recvErr)
		}
	}
	for i := range 20 {
		say(stream, strings.Repeat(fmt.Sprint(i), 1<<i%(1<<16)+1))
	}
	_ = stream.CloseSend()
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("got %v", err)
	}
	if err := <-ended; err != nil {
		t.Errorf("the server's call ended with %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if stream, err = c.FullDuplexCall(ctx); err != nil {
		t.Fatal(err)
	}
	say(stream, "hello")
	cancel()
	if err := <-ended; rpc.Code(err) != codes.Canceled {
		t.Errorf("the server's call ended with %v", err)
	}
	u.Quiet()
	for word, want := range map[string]float64{"ok": 1, "cancelled": 1} {
		if n := u.Counter("usher_grpc_requests_total", map[string]string{"grpc_status": word}); n != want {
			t.Errorf("%s: %v", word, n)
		}
	}
}

// A stream whose server dies, or whose time is over, ends with a status and its reason.
func TestCallStreamCut(t *testing.T) {
	t.Parallel()
	const short = 300 * time.Millisecond
	for name, tc := range map[string]struct {
		policy  config.Policy
		stop    bool
		code    codes.Code
		message string
	}{
		"killed": {config.Policy{}, true, codes.Unavailable, "upstream_reset"},
		"total":  {config.Policy{TotalTimeout: short}, false, codes.DeadlineExceeded, "total_timeout"},
		"idle":   {config.Policy{IdleTimeout: short}, false, codes.DeadlineExceeded, "upstream_timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address, g := serveCalls(t, &server{bidi: echo})
			u, c := callers(t, tc.policy, address)
			stream, err := c.FullDuplexCall(t.Context())
			if err == nil {
				err = stream.Send(&pb.StreamingOutputCallRequest{Payload: &pb.Payload{Body: []byte("x")}})
			}
			if err == nil {
				_, err = stream.Recv()
			}
			if err != nil {
				t.Fatal(err)
			}
			if tc.stop {
				g.Stop()
			}
			_, err = stream.Recv()
			endsWith(t, err, tc.code, tc.message)
			u.Quiet()
		})
	}
}

// A call that one server is not in a position to serve goes to another one.
func TestCallRetry(t *testing.T) {
	t.Parallel()
	var bad, good atomic.Int32
	fails, _ := serveCalls(t, &server{unary: func(context.Context) error {
		bad.Add(1)
		return rpc.Error(codes.ResourceExhausted, "full")
	}})
	works, _ := serveCalls(t, &server{unary: func(context.Context) error {
		good.Add(1)
		return nil
	}})
	u, c := callers(t, retrying("resource_exhausted"), fails, works)
	const n = 25 // within the budget; the message does not come with the head each time
	for range n {
		_, err := c.UnaryCall(patient(t), &pb.SimpleRequest{})
		endsWith(t, err, codes.OK, "")
	}
	if bad.Load() != n || good.Load() != n {
		t.Errorf("tried %d and %d times", bad.Load(), good.Load())
	}
	u.Quiet()
}

// Servers that are replaced one by one fail no call, and their streams end with a status.
func TestCallRollingReplacement(t *testing.T) {
	t.Parallel()
	s := &server{unary: func(context.Context) error { return nil }, bidi: echo}
	a, first := serveCalls(t, s)
	b, second := serveCalls(t, s)
	u, c := callers(t, config.Policy{}, a, b)
	stop, replaced := make(chan struct{}), 0
	var done [4]atomic.Int64
	var calls sync.WaitGroup
	for i := range done {
		calls.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := c.UnaryCall(patient(t), &pb.SimpleRequest{}); err != nil {
					t.Errorf("a call failed: %v", err)
					return
				}
				done[i].Add(1)
			}
		})
	}
	streams := make(chan error, 4)
	for range 4 {
		stream, err := c.FullDuplexCall(patient(t))
		if err != nil {
			t.Fatal(err)
		}
		_ = stream.Send(&pb.StreamingOutputCallRequest{})
		if _, err := stream.Recv(); err != nil {
			t.Fatal(err)
		}
		go func() {
			_, err := stream.Recv()
			streams <- err
		}()
	}
	old := []*grpc.Server{first, second}
	addresses := []string{a, b}
	for len(old) > 0 {
		address, g := serveCalls(t, s)
		addresses = append(addresses[1:], address)
		u.Publish(proxytest.Service{Name: "origin", Routes: []string{"/ proto=grpc"}, Addresses: addresses})
		timer := time.AfterFunc(100*time.Millisecond, old[0].Stop) // as a deployment gives up on streams
		old[0].GracefulStop()
		timer.Stop()
		for i := range done { // those that know the old table end before the next one is stopped
			before := done[i].Load()
			proxytest.Eventually(t, "calls go on", func() bool { return t.Failed() || done[i].Load() > before+1 })
		}
		if old = old[1:]; replaced < 8 {
			old = append(old, g)
		}
		replaced++
	}
	for range 4 {
		endsWith(t, <-streams, codes.Unavailable, "upstream_reset")
	}
	close(stop)
	calls.Wait()
	u.Quiet()
}
