package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"syscall"
	"time"
	"unsafe"
)

// The request versions used here: the last ones before the compact encodings
// (and, for Fetch and Produce, well inside what topic names are allowed in),
// so that old and new brokers take the same bytes.
const (
	apiProduce         = 0
	apiFetch           = 1
	apiListOffsets     = 2
	apiMetadata        = 3
	apiOffsetCommit    = 8
	apiOffsetFetch     = 9
	apiFindCoordinator = 10
	apiVersions        = 18
	apiCreateTopics    = 19
	apiDeleteTopics    = 20

	verProduce         = 8
	verFetch           = 11
	verListOffsets     = 2
	verMetadata        = 4
	verOffsetCommit    = 5
	verOffsetFetch     = 5
	verFindCoordinator = 0
	verVersions        = 0
	verCreateTopics    = 4
	verDeleteTopics    = 3
)

var need = map[int16]struct {
	name    string
	version int16
}{
	apiProduce:      {"Produce", verProduce},
	apiFetch:        {"Fetch", verFetch},
	apiListOffsets:  {"ListOffsets", verListOffsets},
	apiMetadata:     {"Metadata", verMetadata},
	apiVersions:     {"ApiVersions", verVersions},
	apiCreateTopics: {"CreateTopics", verCreateTopics},
	apiDeleteTopics: {"DeleteTopics", verDeleteTopics},
}

var be = binary.BigEndian

// ---- encoding ----

type writer struct{ b []byte }

func (w *writer) i8(v int8)      { w.b = append(w.b, byte(v)) }
func (w *writer) i16(v int16)    { w.b = be.AppendUint16(w.b, uint16(v)) }
func (w *writer) i32(v int32)    { w.b = be.AppendUint32(w.b, uint32(v)) }
func (w *writer) i64(v int64)    { w.b = be.AppendUint64(w.b, uint64(v)) }
func (w *writer) len(n int)      { w.i32(int32(n)) }
func (w *writer) str(s string)   { w.i16(int16(len(s))); w.b = append(w.b, s...) }
func (w *writer) null()          { w.i16(-1) }
func (w *writer) bytes(p []byte) { w.i32(int32(len(p))); w.b = append(w.b, p...) }

// frame makes a complete request: length, header version 1, body. The
// correlation id sits at corrAt.
const corrAt = 8

func frame(api, version int16, corr int32, body func(*writer)) []byte {
	w := &writer{b: make([]byte, 4, 256)}
	w.i16(api)
	w.i16(version)
	w.i32(corr)
	w.str("loadgen")
	if body != nil {
		body(w)
	}
	be.PutUint32(w.b, uint32(len(w.b)-4))
	return w.b
}

// ---- decoding ----

var errShort = errors.New("response is too short or malformed")

type reader struct {
	b   []byte
	err error
}

func (r *reader) take(n int) []byte {
	if r.err != nil || n < 0 || n > len(r.b) {
		r.err = errShort
		r.b = nil
		return nil
	}
	p := r.b[:n]
	r.b = r.b[n:]
	return p
}
func (r *reader) i8() int8 {
	if p := r.take(1); p != nil {
		return int8(p[0])
	}
	return 0
}
func (r *reader) i16() int16 {
	if p := r.take(2); p != nil {
		return int16(be.Uint16(p))
	}
	return 0
}
func (r *reader) i32() int32 {
	if p := r.take(4); p != nil {
		return int32(be.Uint32(p))
	}
	return 0
}
func (r *reader) i64() int64 {
	if p := r.take(8); p != nil {
		return int64(be.Uint64(p))
	}
	return 0
}
func (r *reader) str() string {
	n := r.i16()
	if n < 0 {
		return ""
	}
	return string(r.take(int(n)))
}
func (r *reader) bytes() []byte {
	n := r.i32()
	if n < 0 {
		return nil
	}
	return r.take(int(n))
}

// len reads an array length and bounds it, so that a broken answer cannot make
// a loop run for minutes.
func (r *reader) len() int {
	n := int(r.i32())
	if n > len(r.b) {
		r.err = errShort
		return 0
	}
	return max(n, 0)
}

// ---- connection ----

// conn is a blocking socket used by one thread at a time. Going past Go's
// network poller saves the hand-over between threads on each answer.
type conn struct {
	fd   int
	corr int32
	buf  []byte
}

func dial(addr string, limit time.Duration) (*conn, error) {
	a, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return nil, err
	}
	domain := syscall.AF_INET6
	if a.IP.To4() != nil {
		domain = syscall.AF_INET
	}
	fd, err := syscall.Socket(domain, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	c := &conn{fd: fd}
	tv := syscall.NsecToTimeval(int64(limit))
	syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &tv)
	syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_SNDTIMEO, &tv)
	syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
	var sa syscall.Sockaddr
	if v4 := a.IP.To4(); v4 != nil {
		sa = &syscall.SockaddrInet4{Port: a.Port, Addr: [4]byte(v4)}
	} else {
		sa = &syscall.SockaddrInet6{Port: a.Port, Addr: [16]byte(a.IP.To16())}
	}
	if err := syscall.Connect(fd, sa); err != nil {
		c.close()
		return nil, fmt.Errorf("connect to %s: %w", addr, err)
	}
	// A port of the ephemeral range with nobody listening can be connected to
	// itself.
	if c.isSelf() {
		c.close()
		return nil, fmt.Errorf("connect to %s: reached itself", addr)
	}
	return c, nil
}

func (c *conn) isSelf() bool {
	local, err1 := syscall.Getsockname(c.fd)
	peer, err2 := syscall.Getpeername(c.fd)
	if err1 != nil || err2 != nil {
		return false
	}
	switch l := local.(type) {
	case *syscall.SockaddrInet4:
		p, ok := peer.(*syscall.SockaddrInet4)
		return ok && l.Port == p.Port && l.Addr == p.Addr
	case *syscall.SockaddrInet6:
		p, ok := peer.(*syscall.SockaddrInet6)
		return ok && l.Port == p.Port && l.Addr == p.Addr
	}
	return false
}

func (c *conn) close() { syscall.Close(c.fd) }

func (c *conn) write(p []byte) error {
	for len(p) > 0 {
		n, err := syscall.Write(c.fd, p)
		if err == syscall.EINTR {
			continue
		}
		if err == syscall.EAGAIN {
			return errors.New("timed out while sending")
		}
		if err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

// read returns at least one byte.
func (c *conn) read(p []byte) (int, error) {
	for {
		n, err := syscall.Read(c.fd, p)
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			return 0, errors.New("timed out while waiting for an answer")
		case err != nil:
			return 0, err
		case n == 0:
			return 0, io.EOF
		}
		return n, nil
	}
}

func (c *conn) readFull(p []byte) error {
	for len(p) > 0 {
		n, err := c.read(p)
		if err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

const maxResponse = 1 << 30

// response reads one whole response and returns its body after the
// correlation id, valid until the next call.
func (c *conn) response(corr int32) ([]byte, error) {
	var head [8]byte
	if err := c.readFull(head[:]); err != nil {
		return nil, err
	}
	n := int(int32(be.Uint32(head[:])))
	if n < 4 || n > maxResponse {
		return nil, fmt.Errorf("response of %d bytes", n)
	}
	if got := int32(be.Uint32(head[4:])); got != corr {
		return nil, fmt.Errorf("correlation id %d, expected %d", got, corr)
	}
	n -= 4
	if cap(c.buf) < n {
		c.buf = make([]byte, n+n/4)
	}
	c.buf = c.buf[:n]
	return c.buf, c.readFull(c.buf)
}

// call sends one request and reads its answer.
func (c *conn) call(api, version int16, body func(*writer)) (*reader, error) {
	c.corr++
	if err := c.write(frame(api, version, c.corr, body)); err != nil {
		return nil, err
	}
	b, err := c.response(c.corr)
	return &reader{b: b}, err
}

// ---- the small requests ----

// checkVersions asks for ApiVersions and makes sure that the broker speaks all
// that is used here.
func (c *conn) checkVersions() error {
	r, err := c.call(apiVersions, verVersions, nil)
	if err != nil {
		return err
	}
	if e := r.i16(); e != 0 {
		return fmt.Errorf("ApiVersions: error code %d", e)
	}
	seen := map[int16]bool{}
	for n := r.len(); n > 0; n-- {
		key, lo, hi := r.i16(), r.i16(), r.i16()
		if w, ok := need[key]; ok {
			if w.version < lo || w.version > hi {
				return fmt.Errorf("%s version %d is needed, the broker has %d to %d", w.name, w.version, lo, hi)
			}
			seen[key] = true
		}
	}
	if r.err != nil {
		return fmt.Errorf("ApiVersions: %w", r.err)
	}
	for key, w := range need {
		if !seen[key] {
			return fmt.Errorf("the broker does not list %s", w.name)
		}
	}
	return nil
}

type brokerMeta struct {
	id   int32
	host string
	port int32
}

type partMeta struct {
	err    int16
	id     int32
	leader int32
}

type topicMeta struct {
	err   int16
	parts []partMeta
}

func (c *conn) metadata(topics []string) ([]brokerMeta, map[string]topicMeta, error) {
	r, err := c.call(apiMetadata, verMetadata, func(w *writer) {
		w.len(len(topics))
		for _, t := range topics {
			w.str(t)
		}
		w.i8(0) // do not create topics
	})
	if err != nil {
		return nil, nil, err
	}
	r.i32() // throttle time
	var brokers []brokerMeta
	for n := r.len(); n > 0; n-- {
		brokers = append(brokers, brokerMeta{r.i32(), r.str(), r.i32()})
		r.str() // rack
	}
	r.str() // cluster id
	r.i32() // controller
	found := map[string]topicMeta{}
	for n := r.len(); n > 0; n-- {
		t := topicMeta{err: r.i16()}
		name := r.str()
		r.i8() // internal
		for m := r.len(); m > 0; m-- {
			t.parts = append(t.parts, partMeta{r.i16(), r.i32(), r.i32()})
			for range 2 { // replicas, in-sync replicas
				r.take(4 * r.len())
			}
		}
		found[name] = t
	}
	if r.err != nil {
		return nil, nil, fmt.Errorf("Metadata: %w", r.err)
	}
	return brokers, found, nil
}

// endOffsets asks for the end offset of every given partition; an error code
// in the answer shows that the leader does not serve it yet.
func (c *conn) endOffsets(topic string, ids []int32) (codes []int16, err error) {
	r, err := c.call(apiListOffsets, verListOffsets, func(w *writer) {
		w.i32(-1) // replica
		w.i8(0)   // read uncommitted
		w.len(1)
		w.str(topic)
		w.len(len(ids))
		for _, id := range ids {
			w.i32(id)
			w.i64(-1) // latest
		}
	})
	if err != nil {
		return nil, err
	}
	r.i32() // throttle time
	for n := r.len(); n > 0; n-- {
		r.str()
		for m := r.len(); m > 0; m-- {
			r.i32()
			codes = append(codes, r.i16())
			r.i64() // timestamp
			r.i64() // offset
		}
	}
	if r.err != nil {
		return nil, fmt.Errorf("ListOffsets: %w", r.err)
	}
	return codes, nil
}

// address of the broker that leads a partition, by what Metadata says.
func addressOf(brokers []brokerMeta, leader int32) (string, error) {
	for _, b := range brokers {
		if b.id == leader {
			return net.JoinHostPort(b.host, strconv.Itoa(int(b.port))), nil
		}
	}
	return "", fmt.Errorf("no address of broker %d", leader)
}

// share is what one broker leads of a topic.
type share struct {
	address string
	ids     []int32
}

// byLeader deals the partitions out to the brokers that lead them, in the order of the partitions.
func byLeader(brokers []brokerMeta, parts []partMeta) ([]share, error) {
	var shares []share
	at := map[int32]int{}
	for _, p := range parts {
		k, ok := at[p.leader]
		if !ok {
			address, err := addressOf(brokers, p.leader)
			if err != nil {
				return nil, fmt.Errorf("partition %d: %w", p.id, err)
			}
			k = len(shares)
			at[p.leader] = k
			shares = append(shares, share{address: address})
		}
		shares[k].ids = append(shares[k].ids, p.id)
	}
	return shares, nil
}

// openTopic connects, checks the versions and returns the partitions to use, by leader.
func openTopic() (*conn, []share, error) {
	c, err := dial(*bootstrap, *timeout)
	if err != nil {
		return nil, nil, err
	}
	if err := c.checkVersions(); err != nil {
		return nil, nil, err
	}
	brokers, topics, err := c.metadata([]string{*topicName})
	if err != nil {
		return nil, nil, err
	}
	t, ok := topics[*topicName]
	if !ok || t.err != 0 || len(t.parts) == 0 {
		return nil, nil, fmt.Errorf("topic %s: error code %d, %d partitions", *topicName, t.err, len(t.parts))
	}
	slices.SortFunc(t.parts, func(a, b partMeta) int { return int(a.id - b.id) })
	if *parts > 0 {
		t.parts = t.parts[:min(len(t.parts), *parts)]
	}
	shares, err := byLeader(brokers, t.parts)
	return c, shares, err
}

// nowMono reads the clock that other processes can compare with.
func nowMono() int64 {
	const clockMonotonic = 1
	var ts syscall.Timespec
	syscall.Syscall(syscall.SYS_CLOCK_GETTIME, clockMonotonic, uintptr(unsafe.Pointer(&ts)), 0)
	return ts.Nano()
}
