package main

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

func acks() (int16, error) {
	switch *acksFlag {
	case "0":
		return 0, nil
	case "1":
		return 1, nil
	case "all", "-1":
		return -1, nil
	}
	return 0, fmt.Errorf("-acks %s: must be 0, 1 or all", *acksFlag)
}

func produceFrame(id int32, acks int16, batch []byte) []byte {
	return frame(apiProduce, verProduce, 0, func(w *writer) {
		w.null() // transactional id
		w.i16(acks)
		w.i32(30000)
		w.len(1)
		w.str(*topicName)
		w.len(1)
		w.i32(id)
		w.bytes(batch)
	})
}

// checkProduced looks for an error in the body of a Produce response.
func checkProduced(body []byte) error {
	r := reader{b: body}
	seen := 0
	for n := r.len(); n > 0; n-- {
		r.take(int(r.i16())) // topic
		for m := r.len(); m > 0; m-- {
			id, code := r.i32(), r.i16()
			r.take(24) // base offset, append time, log start
			for k := r.len(); k > 0; k-- {
				r.i32()
				r.str()
			}
			message := r.str()
			if code != 0 {
				return fmt.Errorf("Produce: partition %d: error code %d %s", id, code, message)
			}
			seen++
		}
	}
	r.i32() // throttle time
	if r.err != nil || len(r.b) != 0 || seen != 1 {
		return errors.New("Produce: malformed response")
	}
	return nil
}

// sender is one connection with the frames it sends: equal in length and one
// after the other in memory, so that many small ones go out in one write.
type sender struct {
	c        *conn
	ring     []byte
	frameLen int
	slots    int
	sent     int64 // frames written
	answered int64 // frames answered
	in       []byte
	have     int // bytes of in that are filled
}

func newSender(c *conn, ids []int32, acks int16, batch []byte, window int) *sender {
	s := &sender{c: c, in: make([]byte, 1<<16)}
	for s.slots < window || s.slots%len(ids) != 0 {
		f := produceFrame(ids[s.slots%len(ids)], acks, batch)
		s.ring = append(s.ring, f...)
		s.frameLen = len(f)
		s.slots++
	}
	return s
}

// send writes the next n frames.
func (s *sender) send(n int) error {
	for n > 0 {
		first := int(s.sent % int64(s.slots))
		k := min(n, s.slots-first)
		part := s.ring[first*s.frameLen : (first+k)*s.frameLen]
		for i := range k {
			be.PutUint32(part[i*s.frameLen+corrAt:], uint32(s.sent+int64(i)))
		}
		if err := s.c.write(part); err != nil {
			return err
		}
		s.sent += int64(k)
		n -= k
	}
	return nil
}

// receive does one read and returns how many answers it completed.
func (s *sender) receive() (int, error) {
	n, err := s.c.read(s.in[s.have:])
	if err != nil {
		return 0, err
	}
	s.have += n
	done, at := 0, 0
	for s.have-at >= 8 {
		l := int(int32(be.Uint32(s.in[at:])))
		if l < 4 || l+4 > len(s.in) {
			return done, fmt.Errorf("Produce: response of %d bytes", l)
		}
		if s.have-at < l+4 {
			break
		}
		if got, want := be.Uint32(s.in[at+4:]), uint32(s.answered); got != want {
			return done, fmt.Errorf("Produce: correlation id %d, expected %d", got, want)
		}
		if err := checkProduced(s.in[at+8 : at+4+l]); err != nil {
			return done, err
		}
		s.answered++
		done++
		at += 4 + l
	}
	copy(s.in, s.in[at:s.have])
	s.have -= at
	return done, nil
}

// senders opens the connections, so many to each leader, and deals its partitions out to them.
func senders(batch []byte, window int) ([]*sender, error) {
	a, err := acks()
	if err != nil {
		return nil, err
	}
	if *codec != "none" {
		return nil, fmt.Errorf("-codec %s: only none is there", *codec)
	}
	if *conns < 1 || window < 1 {
		return nil, errors.New("-conns and -inflight must be 1 or more")
	}
	first, shares, err := openTopic()
	if err != nil {
		return nil, err
	}
	first.close()
	var all []*sender
	for _, s := range shares {
		for i := range *conns {
			c, err := dial(s.address, *timeout)
			if err != nil {
				return nil, err
			}
			var mine []int32
			for k, id := range s.ids {
				if len(s.ids) < *conns || k%*conns == i {
					mine = append(mine, id)
				}
			}
			all = append(all, newSender(c, mine, a, batch, window))
		}
	}
	return all, nil
}

func produce() (result, error) {
	batch, per := buildBatch(*batchSize, *size)
	all, err := senders(batch, *inflight)
	if err != nil {
		return nil, err
	}
	total := (*records + int64(per) - 1) / int64(per)
	var claimed atomic.Int64
	claim := func(n int) int {
		end := claimed.Add(int64(n))
		return int(max(0, int64(n)-max(0, end-total)))
	}
	errs := make(chan error, len(all))
	start := time.Now()
	stop := start.Add(time.Duration(math.MaxInt64))
	if *seconds > 0 {
		stop = start.Add(time.Duration(*seconds * 1e9))
	}
	var wg sync.WaitGroup
	for _, s := range all {
		wg.Add(1)
		go func() {
			defer wg.Done()
			runtime.LockOSThread()
			errs <- s.run(claim, stop)
		}()
	}
	wg.Wait()
	took := time.Since(start)
	var sent int64
	for _, s := range all {
		sent += s.sent
		err = errors.Join(err, <-errs)
	}
	r := result{"records_per_batch": per, "batch_bytes": len(batch), "requests": sent,
		"requests_per_s": float64(sent) / took.Seconds(), "connections": len(all), "in_flight": *inflight}
	throughput(r, sent*int64(per), took)
	return r, err
}

// run keeps the window full until there is nothing left to claim.
func (s *sender) run(claim func(int) int, stop time.Time) error {
	more, silent := true, *acksFlag == "0"
	for {
		if more && time.Now().After(stop) {
			more = false
		}
		if room := *inflight - int(s.sent-s.answered); more && room > 0 {
			n := claim(room)
			more = n == room
			if err := s.send(n); err != nil {
				return err
			}
		}
		if silent {
			s.answered = s.sent
			if more {
				continue
			}
			// Requests of one connection are taken in order: an answer to this
			// one shows that all before it have been.
			s.c.corr = int32(s.sent)
			_, err := s.c.call(apiVersions, verVersions, nil)
			return err
		}
		if s.sent == s.answered {
			return nil
		}
		if _, err := s.receive(); err != nil {
			return err
		}
	}
}

// sharpTimers lets this thread wake up within a microsecond of the time it
// asked for, instead of the usual 50.
func sharpTimers() {
	const prSetTimerslack = 29
	syscall.Syscall(syscall.SYS_PRCTL, prSetTimerslack, 1000, 0)
}

type pollFd struct {
	fd      int32
	events  int16
	revents int16
}

// poll waits until one of the descriptors can be read or ns have passed; unlike
// the timers of the runtime it is good to a few microseconds. The raw call is
// cheaper; it keeps this thread's P, and nothing else wants to run.
func poll(fds []pollFd, ns int64) error {
	ts := syscall.NsecToTimespec(max(0, ns))
	_, _, e := syscall.RawSyscall6(syscall.SYS_PPOLL, uintptr(unsafe.Pointer(&fds[0])), uintptr(len(fds)),
		uintptr(unsafe.Pointer(&ts)), 0, 0, 0)
	if e != 0 && e != syscall.EINTR {
		return e
	}
	return nil
}

func fixedRate() (result, error) {
	if *acksFlag == "0" {
		return nil, errors.New("rate needs -acks 1 or all")
	}
	batch, _ := buildBatch(1, *size)
	all, err := senders(batch, 1)
	if err != nil {
		return nil, err
	}
	runtime.LockOSThread()
	sharpTimers()

	const pollIn = 1
	fds := make([]pollFd, len(all))
	for i, s := range all {
		fds[i] = pollFd{fd: int32(s.c.fd), events: pollIn}
	}
	n := *warm + *records
	gap := 1e9 / *perSecond
	latency := make([]int64, 0, *records) // ns, from the intended time to the answer
	late := make([]int64, 0, *records)    // ns, from the intended time to the write: the client's own share
	// Request i goes out on connection i%conns as that connection's i/conns-th.
	intended := func(i int64) int64 { return int64(float64(i) * gap) }
	k := int64(len(all))

	start := time.Now()
	var next, answered int64
	lastAnswer := start
	for answered < n {
		now := int64(time.Since(start))
		for next < n && intended(next) <= now {
			if next >= *warm {
				late = append(late, now-intended(next))
			}
			if err := all[next%k].send(1); err != nil {
				return nil, err
			}
			next++
			now = int64(time.Since(start))
		}
		wait := int64(1e8)
		if next < n {
			wait = intended(next) - now
		}
		if wait <= 0 {
			wait = 0 // behind: look at the answers all the same
		}
		if err := poll(fds, wait); err != nil {
			return nil, err
		}
		for i, s := range all {
			if fds[i].revents == 0 {
				continue
			}
			fds[i].revents = 0
			before := s.answered
			done, err := s.receive()
			if err != nil {
				return nil, err
			}
			now := time.Since(start)
			lastAnswer = start.Add(now)
			for j := range int64(done) {
				if req := (before+j)*k + int64(i); req >= *warm {
					latency = append(latency, int64(now)-intended(req))
				}
			}
			answered += int64(done)
		}
		if next > answered && time.Since(lastAnswer) > *timeout {
			return nil, errors.New("timed out while waiting for an answer")
		}
	}
	took := time.Since(start) - time.Duration(intended(*warm))
	slices.Sort(latency)
	slices.Sort(late)
	r := result{"rate": *perSecond, "connections": len(all),
		"p50_ms": percentileMs(latency, .5), "p90_ms": percentileMs(latency, .9), "p99_ms": percentileMs(latency, .99),
		"p999_ms": percentileMs(latency, .999), "max_ms": percentileMs(latency, 1),
		"send_late_p50_ms": percentileMs(late, .5), "send_late_p99_ms": percentileMs(late, .99), "send_late_max_ms": percentileMs(late, 1)}
	throughput(r, *records, took)
	return r, nil
}

// percentileMs is a percentile of sorted nanoseconds, by nearest rank.
func percentileMs(sorted []int64, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	at := int(math.Ceil(q*float64(len(sorted)))) - 1
	return float64(sorted[max(0, at)]) / 1e6
}
