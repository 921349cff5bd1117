package listen_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/valyala/fasthttp"

	"opensessionmanager/http/listen"
)

// guarded lets the bodies of requests with any Authorization in; others are refused as
// an API does. What it gets it sends back.
func guarded(cfg listen.Config) listen.Config {
	cfg.Admit = func(h *fasthttp.RequestHeader) listen.Admission {
		switch string(h.Peek("Authorization")) {
		case "":
			return listen.Admission{}
		case "small":
			return listen.Admission{MaxBytes: 1000}
		case "anonymous":
			return listen.Admission{MaxBytes: 4 << 20, Anonymous: true}
		}
		return listen.Admission{MaxBytes: 4 << 20}
	}
	cfg.Handler = func(rc *fasthttp.RequestCtx) {
		if len(rc.Request.Header.Peek("Authorization")) == 0 {
			listen.Fail(rc, fasthttp.StatusUnauthorized, "UNAUTHORIZED", "No authorization header")
			return
		}
		rc.SetBody(rc.PostBody())
	}
	return cfg
}

func post(authorization string, more ...string) string {
	head := "POST / HTTP/1.1\r\nHost: a\r\n"
	if authorization != "" {
		head += "Authorization: " + authorization + "\r\n"
	}
	for _, line := range more {
		head += line + "\r\n"
	}
	return head + "\r\n"
}

func write(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	_, err := io.WriteString(conn, text)
	require.NoError(t, err)
}

// F27: whoever may not send a body is told so at once, and asked for nothing.
func TestServer_AnswersWithoutABodyThatIsNotWanted(t *testing.T) {
	t.Parallel()
	server := start(t, guarded(listen.Config{}))
	for head, status := range map[string]int{
		post("", "Content-Length: 4000000"):                         401,
		post("", "Content-Length: 5"):                               401,
		post("", "Transfer-Encoding: chunked"):                      401,
		post("", "Content-Length: 5", "Expect: 100-continue"):       401,
		post("", "Content-Length: 5000000", "Expect: 100-continue"): 413,
		post("a", "Content-Length: 5000000"):                        413,
		post("small", "Content-Length: 1001"):                       413,
	} {
		conn := dial(t, server)
		write(t, conn, head)
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		require.NoError(t, err, head)
		require.Equal(t, status, response.StatusCode, head)
		require.True(t, response.Close, "the rest of the connection is not a request")
	}
}

func TestServer_AsksForABodyThatIsWanted(t *testing.T) {
	t.Parallel()
	conn := dial(t, start(t, guarded(listen.Config{})))
	write(t, conn, post("a", "Content-Length: 5", "Expect: 100-continue", "Connection: close"))
	reader := bufio.NewReader(conn)
	line, err := reader.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "HTTP/1.1 100 Continue\r\n", line)
	_, err = reader.Discard(2)
	require.NoError(t, err)
	write(t, conn, "hello")
	response, err := http.ReadResponse(reader, nil)
	require.NoError(t, err)
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.Equal(t, "hello", string(body))
}

// A client that names the broker's own mark hurts itself only.
func TestServer_MarkOfAClientRefusesItsOwnBody(t *testing.T) {
	t.Parallel()
	server := start(t, guarded(listen.Config{}))
	for _, mark := range []string{"too-large", "refused", "x"} {
		conn := dial(t, server)
		write(t, conn, post("a", "Content-Length: 5", "Broker-Body-Withheld: "+mark)+"hello")
		_, body := lastAnswer(t, conn)
		require.NotContains(t, body, "hello")
	}
}

// F28: many large bodies of strangers cost no memory. Not parallel: it measures.
func TestServer_BodiesOfStrangersAreNotKept(t *testing.T) {
	const connections, size = 200, 4 << 20
	server := start(t, guarded(listen.Config{}))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	part := bytes.Repeat([]byte{' '}, size-1)
	head := post("", fmt.Sprintf("Content-Length: %d", size))
	open := make([]net.Conn, connections)
	for i := range open {
		open[i] = dial(t, server)
		write(t, open[i], head)
		_, err := open[i].Write(part)
		require.NoError(t, err)
	}
	runtime.ReadMemStats(&after)
	require.Less(t, after.HeapAlloc, before.HeapAlloc+100<<20, "%d bodies of %d bytes", connections, size)
	for _, conn := range open {
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		require.NoError(t, err)
		require.Equal(t, http.StatusUnauthorized, response.StatusCode)
	}
}

// F28: all bodies together are bounded, and what was held is given back.
func TestServer_BoundsAllBodiesTogether(t *testing.T) {
	t.Parallel()
	const size = 2_500_000 // and 2 MiB more for a moment, while it grows to that
	server := start(t, guarded(listen.Config{MaxBodiesBytes: 6 << 20}))
	head := post("a", fmt.Sprintf("Content-Length: %d", size), "Connection: close")
	first, second := dial(t, server), dial(t, server)
	write(t, first, head+strings.Repeat("a", size-1))
	await(t, "the first body to be held", func() bool { return server.Stats().BodyBytes == size })

	write(t, second, head+strings.Repeat("b", size-1))
	response, body := lastAnswer(t, second)
	require.Equal(t, http.StatusServiceUnavailable, response.StatusCode)
	require.Equal(t, "1", response.Header.Get("Retry-After"))
	require.Equal(t, listen.CodeBusy, response.Header.Get("X-Error-Code"))
	require.Equal(t, `{"error": "Too many large requests at once, try again later"}`, body)

	write(t, first, "a")
	response, body = lastAnswer(t, first)
	require.Equal(t, http.StatusOK, response.StatusCode)
	require.Len(t, body, size)
	await(t, "the room to be free again", func() bool { return server.Stats().BodyBytes == 0 })
}

// Strangers, where a port must read what they say, leave room for others.
func TestServer_AnonymousBodiesGetAShare(t *testing.T) {
	t.Parallel()
	server := start(t, guarded(listen.Config{MaxBodiesBytes: 4 << 20}))
	for who, status := range map[string]int{"anonymous": http.StatusServiceUnavailable, "known": http.StatusOK} {
		conn := dial(t, server)
		write(t, conn, post(who, "Content-Length: 1000000", "Connection: close")+strings.Repeat("a", 1_000_000))
		response, _ := lastAnswer(t, conn)
		require.Equal(t, status, response.StatusCode, who)
	}
}

// A body that was cut off is not a shorter body.
func TestServer_CutOffBodyReachesNobody(t *testing.T) {
	t.Parallel()
	var called atomic.Int32
	handler := func(*fasthttp.RequestCtx) { called.Add(1) }
	plain, overTLS := start(t, listen.Config{Handler: handler}), start(t, listen.Config{Handler: handler, TLS: selfSigned(t)})
	for _, request := range []string{
		post("a", "Content-Length: 100") + strings.Repeat("a", 99),
		post("a", "Content-Length: 100000") + strings.Repeat("a", 99_999),
		post("a", "Transfer-Encoding: chunked") + "5\r\nhello\r\n",
		post("a", "Transfer-Encoding: chunked") + "5\r\nhel",
	} {
		conn := dial(t, plain)
		write(t, conn, request)
		require.NoError(t, conn.(*net.TCPConn).CloseWrite())
		_, err := io.ReadAll(conn)
		require.NoError(t, err)

		private, err := tls.Dial("tcp", overTLS.Addr().String(), &tls.Config{InsecureSkipVerify: true})
		require.NoError(t, err)
		write(t, private, request)
		require.NoError(t, private.CloseWrite())
		_, err = io.ReadAll(private)
		require.NoError(t, err)
		require.NoError(t, private.Close())
	}
	require.Zero(t, called.Load())
	for _, server := range []*listen.Server{plain, overTLS} {
		require.Zero(t, server.Stats().BodyBytes)
	}
}

// Requests that follow each other on a connection are told apart, however long they are.
func TestServer_BodiesOfOneConnectionKeepApart(t *testing.T) {
	t.Parallel()
	conn := dial(t, start(t, guarded(listen.Config{})))
	sizes := []int{0, 1, 8191, 8192, 8193, 40_000, 1 << 20, 7, 4 << 20, 3}
	text := func(i, size int) string { return strings.Repeat(string(rune('a'+i)), size) }
	sent := make(chan error, 1)
	go func() { // all at once, without waiting for answers
		for i, size := range sizes {
			request := post("a", fmt.Sprintf("Content-Length: %d", size)) + text(i, size)
			if i%2 == 1 {
				half := text(i, size/2)
				request = post("a", "Transfer-Encoding: chunked")
				for _, chunk := range []string{half, text(i, size-len(half))} {
					if chunk != "" {
						request += fmt.Sprintf("%x\r\n%s\r\n", len(chunk), chunk)
					}
				}
				request += "0\r\n\r\n"
			}
			if _, err := io.WriteString(conn, request); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	reader := bufio.NewReader(conn)
	for i, size := range sizes {
		response, err := http.ReadResponse(reader, nil)
		require.NoError(t, err)
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, response.StatusCode)
		require.True(t, text(i, size) == string(body), "body %d of %d bytes came back as %d bytes", i, size, len(body))
	}
	require.NoError(t, <-sent)
}

// A client that sends everything before it reads sees why it was refused.
func TestServer_ClientThatIsStillSendingSeesTheAnswer(t *testing.T) {
	t.Parallel()
	server := start(t, guarded(listen.Config{TLS: selfSigned(t)}))
	const size = 16 << 20
	chunk := fmt.Sprintf("%x\r\n%s\r\n", 1<<20, strings.Repeat("a", 1<<20))
	for name, c := range map[string]struct {
		request string
		status  int
	}{
		"announced":   {post("a", fmt.Sprintf("Content-Length: %d", size)) + strings.Repeat("a", size), 413},
		"chunked":     {post("a", "Transfer-Encoding: chunked") + strings.Repeat(chunk, 16) + "0\r\n\r\n", 413},
		"no token":    {post("", fmt.Sprintf("Content-Length: %d", 4<<20)) + strings.Repeat("a", 4<<20), 401},
		"long header": {post("a", "X-Big: "+strings.Repeat("a", 2<<20)), 431},
	} {
		conn, err := tls.Dial("tcp", server.Addr().String(), &tls.Config{InsecureSkipVerify: true})
		require.NoError(t, err)
		_, err = io.WriteString(conn, c.request)
		require.NoError(t, err, name)
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		require.NoError(t, err, name)
		require.Equal(t, c.status, response.StatusCode, name)
		require.NoError(t, conn.Close())
	}
}

// Whoever is still waited for does not hold up the end of the port.
func TestServer_ShutdownDoesNotWaitForUnreadBodies(t *testing.T) {
	t.Parallel()
	server := start(t, guarded(listen.Config{}))
	conn := dial(t, server)
	write(t, conn, post("", "Content-Length: 100"))
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusUnauthorized, response.StatusCode)
	require.NoError(t, server.Shutdown(t.Context()))
	require.Zero(t, server.Stats().Open)
}
