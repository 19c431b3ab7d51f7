package upstream_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"usher/config"
	"usher/proxy/proxytest"
)

// grpcService is what a server of gRPC does in these tests.
type grpcService struct {
	testpb.UnimplementedTestServiceServer
	// left tells of calls whose client has left.
	left chan struct{}
}

func (s *grpcService) UnaryCall(ctx context.Context, in *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
	if want := in.GetResponseStatus(); want.GetCode() != 0 {
		return nil, status.Error(codes.Code(want.GetCode()), want.GetMessage())
	}
	if in.GetResponseSize() < 0 {
		<-ctx.Done()
		s.left <- struct{}{}
		return nil, ctx.Err()
	}
	said, _ := metadata.FromIncomingContext(ctx)
	_ = grpc.SetTrailer(ctx, metadata.Pairs("x-trailer-bin", said.Get("x-sent-bin")[0]))
	body := bytes.Repeat(in.GetPayload().GetBody(), int(in.GetResponseSize()))
	return &testpb.SimpleResponse{Payload: &testpb.Payload{Body: body}}, nil
}

func (s *grpcService) FullDuplexCall(stream testpb.TestService_FullDuplexCallServer) error {
	for {
		in, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			s.left <- struct{}{}
			return err
		}
		if err := stream.Send(&testpb.StreamingOutputCallResponse{Payload: in.GetPayload()}); err != nil {
			return err
		}
	}
}

// grpcThrough starts a server of gRPC behind an usher, and a client in front of it.
func grpcThrough(t *testing.T, tr *h2Transport) (testpb.TestServiceClient, *grpcService, *proxytest.Usher) {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	service := &grpcService{left: make(chan struct{}, 16)}
	srv := grpc.NewServer(tr.credentials()...)
	testpb.RegisterTestServiceServer(srv, service)
	go func() { _ = srv.Serve(ln) }()
	t.Cleanup(srv.Stop)
	u := proxytest.Start(t, proxytest.Options{
		Policy: tr.policy(config.Policy{}), Services: proxytest.Origins(ln.Addr().String()),
		Listeners: []config.Listener{{H2C: true}},
	})
	cc, err := grpc.NewClient("passthrough:///"+u.Addr(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cc.Close() })
	return testpb.NewTestServiceClient(cc), service, u
}

// A client of gRPC and a server of gRPC understand one another: unary calls and streams,
// metadata, statuses, deadlines and cancellation.
func TestH2GRPCThrough(t *testing.T) {
	t.Parallel()
	eachH2(t, func(t *testing.T, tr *h2Transport) {
		client, service, u := grpcThrough(t, tr)
		ctx, cancel := context.WithTimeout(t.Context(), 2*proxytest.Patience)
		defer cancel()
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() { unary(ctx, t, client, i) })
			wg.Go(func() { duplex(ctx, t, client) })
		}
		wg.Wait()

		_, err := client.UnaryCall(ctx, &testpb.SimpleRequest{
			ResponseStatus: &testpb.EchoStatus{Code: int32(codes.DataLoss), Message: "so: ä\n "},
		})
		s := status.Convert(err)
		if s.Code() != codes.DataLoss || strings.TrimRight(s.Message(), " ") != "so: ä\n" {
			t.Errorf("got %v %q", s.Code(), s.Message())
		}
		if _, err := client.EmptyCall(ctx, &testpb.Empty{}); status.Code(err) != codes.Unimplemented {
			t.Errorf("got %v", err)
		}
		short, end := context.WithTimeout(ctx, 50*time.Millisecond)
		defer end()
		_, err = client.UnaryCall(short, &testpb.SimpleRequest{ResponseSize: -1})
		if status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("got %v", err)
		}
		receive(t, service.left)
		leaving, leave := context.WithCancel(ctx)
		stream, err := client.FullDuplexCall(leaving)
		if err != nil {
			t.Fatal(err)
		}
		_ = stream.Send(&testpb.StreamingOutputCallRequest{})
		if _, err := stream.Recv(); err != nil {
			t.Error(err)
		}
		leave()
		receive(t, service.left)
		u.Clean(1, 3)
	})
}

// unary makes a call with a body both ways.
func unary(ctx context.Context, t *testing.T, client testpb.TestServiceClient, i int) {
	var trailer metadata.MD
	body := bytes.Repeat([]byte("x"), 1+i*i*1000)
	out, err := client.UnaryCall(metadata.AppendToOutgoingContext(ctx, "x-sent-bin", "\x00\xff"),
		&testpb.SimpleRequest{ResponseSize: 3, Payload: &testpb.Payload{Body: body}}, grpc.Trailer(&trailer))
	if err != nil || len(out.GetPayload().GetBody()) != 3*len(body) || trailer.Get("x-trailer-bin")[0] != "\x00\xff" {
		t.Errorf("got %d bytes, %v, %v", len(out.GetPayload().GetBody()), trailer, err)
	}
}

// duplex sends messages and has each back before the next.
func duplex(ctx context.Context, t *testing.T, client testpb.TestServiceClient) {
	stream, err := client.FullDuplexCall(ctx)
	if err != nil {
		t.Error(err)
		return
	}
	for size := 1; size <= 1<<20; size *= 8 {
		body := bytes.Repeat([]byte{byte(size)}, size)
		_ = stream.Send(&testpb.StreamingOutputCallRequest{Payload: &testpb.Payload{Body: body}})
		if in, err := stream.Recv(); err != nil || !bytes.Equal(in.GetPayload().GetBody(), body) {
			t.Errorf("%d: got %d bytes, %v", size, len(in.GetPayload().GetBody()), err)
			return
		}
	}
	_ = stream.CloseSend()
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("got %v", err)
	}
}
