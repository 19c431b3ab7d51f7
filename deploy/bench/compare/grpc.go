package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const (
	// grpcCommand is the first argument of the process that answers gRPC calls.
	grpcCommand = "grpc"
	// grpcHost is the authority of calls, grpcMethod what is called.
	grpcHost   = "grpc.example.com"
	grpcMethod = "/bench.Echo/Say"
	// What is said is a protobuf message with one string.
	grpcRequest = "a request that says about as much as many do"
	grpcReply   = "as small as many answers are, about a hundred bytes; they have two or three fields, and that is it"
)

// grpcMessage is a google.protobuf.StringValue of at most 127 bytes as gRPC frames it.
func grpcMessage(text string) []byte {
	message := append([]byte{0x0a, byte(len(text))}, text...)
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)
}

// callGRPC calls the method once; with a pool over TLS.
func callGRPC(ctx context.Context, addr string, pool *x509.CertPool) error {
	creds := insecure.NewCredentials()
	if pool != nil {
		creds = credentials.NewTLS(&tls.Config{RootCAs: pool, ServerName: grpcHost})
	}
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(creds),
		grpc.WithAuthority(grpcHost))
	if err != nil {
		return fmt.Errorf("gRPC: %w", err)
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	out := new(wrapperspb.StringValue)
	if err := conn.Invoke(ctx, grpcMethod, wrapperspb.String(grpcRequest), out); err != nil {
		return fmt.Errorf("gRPC: %w", err)
	}
	if out.Value != grpcReply {
		return fmt.Errorf("gRPC: the reply is %q", out.Value)
	}
	return nil
}

// serveGRPC answers every call with the same reply, as cheaply as can be: grpc-go's
// server would have more to do than the proxies. Its argument is a list of addresses. It
// returns on an error, or when ctx ends.
func serveGRPC(ctx context.Context, args []string) error {
	if len(args) != 1 {
		return errors.New("a list of addresses is needed")
	}
	failed := make(chan error, 1)
	for addr := range strings.SplitSeq(args[0], ",") {
		ln, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
		if err != nil {
			return fmt.Errorf("listen: %w", err)
		}
		defer ln.Close()
		go func() {
			select {
			case failed <- acceptCalls(ln):
			case <-ctx.Done():
			}
		}()
	}
	select {
	case err := <-failed:
		return fmt.Errorf("accept: %w", err)
	case <-ctx.Done():
		return nil
	}
}

// acceptCalls serves connections, each in a goroutine that ends with it, until it fails.
func acceptCalls(ln net.Listener) error {
	for {
		c, err := ln.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			_ = newReplier(c).serve() // the client has left
		}()
	}
}

// replier answers the calls of one connection. It keeps to the connection's window; a
// stream's, which begins at 65,535 at least with the clients there are, always has room.
type replier struct {
	r        *bufio.Reader
	w        *bufio.Writer
	fr       *http2.Framer
	window   int      // of what may be sent
	received int      // since the last WINDOW_UPDATE
	due      []uint32 // streams to be answered
	head     []byte
	message  []byte
	trailer  []byte
}

func newReplier(c net.Conn) *replier {
	r := &replier{r: bufio.NewReaderSize(c, 64<<10), w: bufio.NewWriterSize(c, 64<<10), window: 65535}
	r.fr = http2.NewFramer(r.w, r.r)
	r.fr.SetReuseFrames()
	// Nothing is put into a table: the blocks are the same each time.
	r.head = headerBlock(":status", "200", "content-type", "application/grpc")
	r.message = grpcMessage(grpcReply)
	r.trailer = headerBlock("grpc-status", "0")
	return r
}

// headerBlock encodes fields, given as names and values, without a table.
func headerBlock(fields ...string) []byte {
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	for i := 0; i < len(fields); i += 2 {
		_ = e.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1], Sensitive: true}) // to memory
	}
	return b.Bytes()
}

func (r *replier) serve() error {
	preface := make([]byte, len(http2.ClientPreface))
	if _, err := io.ReadFull(r.r, preface); err != nil {
		return err
	}
	if err := r.fr.WriteSettings(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 1000}); err != nil {
		return err
	}
	for {
		f, err := r.fr.ReadFrame()
		if err != nil {
			return err
		}
		if err := errors.Join(r.take(f), r.reply()); err != nil {
			return err
		}
		// All that has come is answered in one write.
		if r.r.Buffered() == 0 {
			if err := r.w.Flush(); err != nil {
				return err
			}
		}
	}
}

// take takes a frame in. What a header block says does not matter.
func (r *replier) take(f http2.Frame) error {
	switch f := f.(type) {
	case *http2.SettingsFrame:
		if !f.IsAck() {
			return r.fr.WriteSettingsAck()
		}
	case *http2.PingFrame:
		if !f.IsAck() {
			return r.fr.WritePing(true, f.Data)
		}
	case *http2.WindowUpdateFrame:
		if f.StreamID == 0 {
			r.window += int(f.Increment)
		}
	case *http2.HeadersFrame:
		if f.StreamEnded() {
			r.due = append(r.due, f.StreamID)
		}
	case *http2.DataFrame:
		if f.StreamEnded() {
			r.due = append(r.due, f.StreamID)
		}
		if r.received += int(f.Length); r.received > 32<<10 {
			n := uint32(r.received)
			r.received = 0
			return r.fr.WriteWindowUpdate(0, n)
		}
	}
	return nil
}

// reply answers the streams that are due as long as the window has room.
func (r *replier) reply() error {
	for len(r.due) > 0 && r.window >= len(r.message) {
		id := r.due[0]
		r.due = r.due[:copy(r.due, r.due[1:])]
		r.window -= len(r.message)
		err := errors.Join(
			r.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: r.head, EndHeaders: true}),
			r.fr.WriteData(id, false, r.message),
			r.fr.WriteHeaders(http2.HeadersFrameParam{
				StreamID: id, BlockFragment: r.trailer, EndHeaders: true, EndStream: true,
			}),
		)
		if err != nil {
			return err
		}
	}
	return nil
}
