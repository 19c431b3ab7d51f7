package main_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	grpcstats "google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// counter is a gRPC server in this process: Name answers with its name, Count with 1, 2,
// 3 and so on, one for each message, until its client has sent the last.
type counter struct {
	name    string
	server  *grpc.Server
	address string
}

func startCounter(t *testing.T, name string) *counter {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &counter{name: name, server: grpc.NewServer(), address: ln.Addr().String()}
	c.server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "usher.test.Counter", HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Name", Handler: c.answer}},
		Streams: []grpc.StreamDesc{
			{StreamName: "Count", Handler: c.count, ServerStreams: true, ClientStreams: true},
		},
	}, c)
	go func() { _ = c.server.Serve(ln) }()
	t.Cleanup(c.server.Stop)
	return c
}

//nolint:revive // grpc has its context second
func (c *counter) answer(
	_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor,
) (any, error) {
	in := new(wrapperspb.StringValue)
	if err := decode(in); err != nil {
		return nil, err
	}
	return wrapperspb.String(c.name), nil
}

func (c *counter) count(_ any, stream grpc.ServerStream) error {
	for n := 1; ; n++ {
		err := stream.RecvMsg(new(wrapperspb.StringValue))
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = stream.SendMsg(wrapperspb.String(strconv.Itoa(n)))
		}
		if err != nil {
			return err
		}
	}
}

// stop ends the server as grpc-go's own are ended: no more streams, some time for those
// there are, and then the end for those that are left.
func (c *counter) stop(grace time.Duration) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.server.GracefulStop()
	}()
	select {
	case <-done:
	case <-time.After(grace):
		c.server.Stop()
		<-done
	}
}

// ended counts the connections of clients that have ended.
type ended struct {
	grpcstats.Handler
	n atomic.Int32
}

func (e *ended) TagRPC(ctx context.Context, _ *grpcstats.RPCTagInfo) context.Context   { return ctx }
func (e *ended) HandleRPC(context.Context, grpcstats.RPCStats)                         {}
func (e *ended) TagConn(ctx context.Context, _ *grpcstats.ConnTagInfo) context.Context { return ctx }

func (e *ended) HandleConn(_ context.Context, s grpcstats.ConnStats) {
	if _, ok := s.(*grpcstats.ConnEnd); ok {
		e.n.Add(1)
	}
}

// grpcLoad calls a counter at a steady rate and keeps streams open meanwhile.
type grpcLoad struct {
	t    *testing.T
	conn *grpc.ClientConn
	stop chan struct{}
	all  sync.WaitGroup
	ends ended

	mu     sync.Mutex
	calls  int
	failed []string
	by     map[string]int
	codes  map[codes.Code]int // what streams have ended with
	odd    []string           // ends of streams that tell of no status
}

func startGRPCLoad(t *testing.T, address string, rate, streams int) *grpcLoad {
	t.Helper()
	l := &grpcLoad{t: t, stop: make(chan struct{}), by: map[string]int{}, codes: map[codes.Code]int{}}
	conn, err := grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithStatsHandler(&l.ends))
	if err != nil {
		t.Fatal(err)
	}
	l.conn = conn
	turns := make(chan struct{}, rate)
	pacer := &load{stop: l.stop}
	l.all.Go(func() { pacer.pace(turns, rate) })
	for range 16 {
		l.all.Go(func() {
			for range turns {
				l.call()
			}
		})
	}
	for range streams {
		l.all.Go(l.keepStream)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return l
}

func (l *grpcLoad) call() {
	ctx, cancel := context.WithTimeout(l.t.Context(), patience)
	defer cancel()
	out := new(wrapperspb.StringValue)
	err := l.conn.Invoke(ctx, "/usher.test.Counter/Name", wrapperspb.String("x"), out)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls++
	if err != nil {
		l.failed = append(l.failed, err.Error())
		return
	}
	l.by[out.Value]++
}

// keepStream counts on one stream after the other until the load stops.
func (l *grpcLoad) keepStream() {
	for more := true; more; {
		var err error
		more, err = l.stream()
		l.mu.Lock()
		l.codes[status.Code(err)]++
		told := more && status.Code(err) == codes.Unavailable && !strings.Contains(err.Error(), "RST_STREAM")
		if err != nil && !told {
			l.odd = append(l.odd, err.Error())
		}
		l.mu.Unlock()
	}
}

// stream counts until the stream ends, which is all right as long as its end has a status,
// or the load does; more says that it does not.
func (l *grpcLoad) stream() (more bool, err error) {
	ctx, cancel := context.WithTimeout(l.t.Context(), 2*patience)
	defer cancel()
	s, err := l.conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true},
		"/usher.test.Counter/Count")
	if err != nil {
		return false, fmt.Errorf("no stream: %w", err)
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	in := new(wrapperspb.StringValue)
	for n := 1; ; n++ {
		// A message that cannot be sent is explained by what is received.
		if err := s.SendMsg(wrapperspb.String("next")); err != nil && !errors.Is(err, io.EOF) {
			return true, err
		}
		if err := s.RecvMsg(in); err != nil {
			return true, err
		}
		if in.Value != strconv.Itoa(n) {
			return true, fmt.Errorf("message %d says %s", n, in.Value)
		}
		select {
		case <-tick.C:
		case <-l.stop:
			_ = s.CloseSend()
			if err := s.RecvMsg(in); !errors.Is(err, io.EOF) {
				return false, fmt.Errorf("the end of a stream: %w", err)
			}
			return false, nil
		}
	}
}

// mustBeClean stops the load once at least so many calls were made: none may have failed,
// and every stream must have ended with a status, on connections that have not.
func (l *grpcLoad) mustBeClean(least int) {
	l.t.Helper()
	eventually(l.t, patience, "enough calls were made", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.calls >= least
	})
	close(l.stop)
	l.all.Wait()
	if len(l.failed) > 0 {
		l.t.Errorf("%d of %d calls failed, such as: %s", len(l.failed), l.calls, l.failed[0])
	}
	if len(l.odd) > 0 {
		l.t.Errorf("%d streams ended without a status of usher, such as: %s", len(l.odd), l.odd[0])
	}
	if n := l.ends.n.Load(); n > 0 {
		l.t.Errorf("%d connections of clients ended", n)
	}
	l.t.Logf("%d calls, by server: %v; ends of streams: %v", l.calls, l.by, l.codes)
}

// The load is clean without a usher between, and tells when a server ends.
func TestGRPCLoadItself(t *testing.T) {
	t.Parallel()
	c := startCounter(t, "a")
	l := startGRPCLoad(t, c.address, lowRate, 4)
	pause(time.Second)
	l.mustBeClean(lowRate / 2)
	if l.codes[codes.OK] != 4 || l.by["a"] != l.calls {
		t.Errorf("ends %v, by %v", l.codes, l.by)
	}
}

// All servers of a service are replaced, one after the other, each by one at another
// address. No call fails; the streams end with a status where a server ends before them.
func TestGRPCRollingReplacement(t *testing.T) {
	t.Parallel()
	var servers []*counter
	list := func() string {
		var all []string
		for _, s := range servers {
			all = append(all, s.address)
		}
		return "services:\n" + serviceAt("counter", "/usher.test.Counter/", "grpc", all...)
	}
	for i := range 3 {
		servers = append(servers, startCounter(t, fmt.Sprintf("old-%d", i)))
	}
	e := startGateway(t, newCredentials(t), list(), "")
	l := startGRPCLoad(t, e.plain(), 2*lowRate, 12)
	pause(time.Second)
	for i, old := range servers {
		fresh := startCounter(t, fmt.Sprintf("new-%d", i))
		servers[i] = fresh
		e.list(list())
		e.waitInstance("counter", fresh.address)
		pause(time.Second) // the drain of the one that left
		old.stop(500 * time.Millisecond)
	}
	pause(time.Second)
	l.mustBeClean(2 * lowRate * 4 * 9 / 10)
	for _, name := range []string{"new-0", "new-1", "new-2"} {
		if l.by[name] == 0 {
			t.Errorf("%s has not served: %v", name, l.by)
		}
	}
}

// waitInstance waits until usher knows of an instance of a service.
func (u *usher) waitInstance(name, address string) {
	u.t.Helper()
	eventually(u.t, patience, name+" has "+address, func() bool {
		var all []service
		u.api(http.MethodGet, "services/"+name, &all)
		for _, s := range all {
			for _, i := range s.Instances {
				if i.Address == address {
					return true
				}
			}
		}
		return false
	})
}
